"""The commands of the command line that are about API keys."""

from typing import Annotated

import typer

from tunesmith_api.serving.access import KEYS_FILE, Limits
from tunesmith_operator import keys
from tunesmith_operator.clock import SteadyClock

app = typer.Typer(no_args_is_help=True, help="API keys of a ModelServe.")
_now = SteadyClock()


@app.callback()
def _keys() -> None:
    """Keep `new` a command of its own."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What logs and metrics call it.", show_default=False)],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="chat, completions, embeddings, models or feedback; all by default.", show_default=False),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="12h, 90d, 8w or a date; never by default.", show_default=False)
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, max=100_000, show_default=False)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, max=1_000_000_000, show_default=False)] = None,
    max_concurrent_requests: Annotated[int | None, typer.Option(min=1, max=10_000, show_default=False)] = None,
) -> None:
    """Make a key: print it, once, and the entry for keys.yaml of the ModelServe's Secret."""
    limits = Limits(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_concurrent_requests=max_concurrent_requests,
    )
    try:
        made = keys.new_key(name, scope or (), expires, limits if limits.to_json() else None, _now())
    except keys.KeyRefusedError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo("The key, which is kept nowhere:\n", err=True)
    typer.echo(made.secret)
    typer.echo(f"\nIts entry for {KEYS_FILE}:\n", err=True)
    typer.echo(made.yaml(), nl=False)
