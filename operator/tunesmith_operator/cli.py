"""The command line: `tunesmith`.

Exit codes: 0 when all went well, 1 when a goal was not reached or the input was refused, 2 for a wrong call, 130 when
interrupted.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import yaml

from tunesmith_api.resources import Resource
from tunesmith_operator import key_commands, manifests, rollout_commands
from tunesmith_operator.clock import SteadyClock
from tunesmith_operator.local import names, tables
from tunesmith_operator.local.describe import describe as describe_resource
from tunesmith_operator.local.state import DEFAULT_FOLDER, State, StateError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fine-tune, evaluate and serve language models on this machine, and see what would run in a cluster.",
)

RUNTIME_IMAGE = "ghcr.io/tunesmith/runtime"
FOLLOW_SECONDS = 0.25


class Output(StrEnum):
    """How `get` prints."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class Backend(StrEnum):
    """What `render` renders for."""

    AUTO = "auto"
    NATIVE = "native"
    KUBERAY = "kuberay"


Files = Annotated[
    list[str],
    typer.Option(
        "--file", "-f", help="A manifest, a folder of manifests, or - for standard input.", show_default=False
    ),
]
MoreFiles = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE]...", help="More of the same, as `-f *.yaml` becomes.", show_default=False),
]
StateFolder = Annotated[
    Path, typer.Option("--state", envvar="TUNESMITH_STATE", help="Folder that the local shell keeps its state in.")
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the resources.")]
KindAndName = Annotated[str, typer.Argument(metavar="KIND/NAME", show_default=False, help="Such as ftj/my-bot.")]


_now = SteadyClock()


def _fail(*sentences: str) -> NoReturn:
    for sentence in sentences:
        typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(1)


def _says_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Print the sentences of an expected error and exit with 1."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except manifests.ManifestError as error:
            _fail(*error.sentences)
        except (StateError, names.UnknownNameError) as error:
            _fail(*str(error).splitlines())

    return wrapped


@app.callback(invoke_without_command=True)
def _main(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.", show_default=False)] = False,
) -> None:
    if show_version:
        typer.echo(f"tunesmith {version('tunesmith')}")
        raise typer.Exit


@app.command()
@_says_errors
def run(
    file: Files,
    more: MoreFiles = None,
    state: StateFolder = Path(DEFAULT_FOLDER),
    volume: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLAIM=FOLDER", help="Let FOLDER play the claim of pvc://CLAIM/... URIs.", show_default=False
        ),
    ] = None,
    until_ready: Annotated[
        bool, typer.Option("--until-ready", help="Stop the servers as soon as all is settled, and return.")
    ] = False,
    then: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Run COMMAND with $TUNESMITH_URL once a server is ready, then stop and return its exit code.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Apply manifests and bring them to their goals on this machine.

    Goes on where an earlier run stopped. With a server that is ready it stays until Ctrl-C.
    """
    from tunesmith_operator.local import display
    from tunesmith_operator.local.processes import Processes
    from tunesmith_operator.local.shell import Afterwards, Interruptions, Shell, key_of, port_problems

    wanted = manifests.load([*file, *(more or [])])
    here = State(state)
    with Interruptions() as interruptions, here.locked():
        for claim, folder in map(_claim_and_folder, volume or []):
            here.link_volume(claim, folder)
        screen = display.standard(_now)
        for resource, applied in zip(wanted, here.apply(wanted, _now()), strict=True):
            screen.say(f"{tables.label(resource)} {applied}")
        processes = Processes(here, _now)
        processes.recover()
        shell = Shell(here, processes, screen, [key_of(each) for each in wanted], _now, interruptions)
        if problems := port_problems(shell.resources()):
            _fail(*problems)
        code = shell.run(Afterwards(until_ready=until_ready, then=then))
    raise typer.Exit(code)


@app.command()
@_says_errors
def get(
    what: Annotated[
        str | None, typer.Argument(metavar="[KIND[/NAME]]", show_default=False, help="Such as ftj or evj/my-bot-eval.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    state: StateFolder = Path(DEFAULT_FOLDER),
    namespace: Namespace = "default",
) -> None:
    """List resources."""
    here = State(state)
    resources = names.select(here, what, namespace)
    runs = here.holder() is not None
    match output:
        case Output.TABLE:
            typer.echo(tables.resource_table(resources, runs) if resources else f"no resources in {state}")
        case Output.WIDE:
            typer.echo(tables.wide_table(resources, _now(), runs))
        case Output.JSON:
            typer.echo(json.dumps(_plain(resources, what), indent=2))
        case Output.YAML:
            typer.echo(yaml.safe_dump(_plain(resources, what), sort_keys=False), nl=False)


@app.command()
@_says_errors
def describe(what: KindAndName, state: StateFolder = Path(DEFAULT_FOLDER), namespace: Namespace = "default") -> None:
    """Show one resource: spec, conditions, attempts, results, and where its files are."""
    here = State(state)
    typer.echo(describe_resource(here, names.find(here, what, namespace)))


@app.command()
@_says_errors
def logs(
    what: KindAndName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is written.")] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Attempt or revision; the last one unless given.", show_default=False)
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Of an EvalJob: a suite that is measured apart.", show_default=False)
    ] = None,
    state: StateFolder = Path(DEFAULT_FOLDER),
    namespace: Namespace = "default",
) -> None:
    """Print the log of a resource's attempt or server."""
    here = State(state)
    path = names.log_of(here, names.find(here, what, namespace), attempt, suite)
    with path.open(encoding="utf-8", errors="replace") as log:
        while True:
            sys.stdout.write(log.read())
            sys.stdout.flush()
            if not follow or here.holder() is None:
                return
            time.sleep(FOLLOW_SECONDS)


@app.command()
@_says_errors
def report(
    what: KindAndName,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    state: StateFolder = Path(DEFAULT_FOLDER),
    namespace: Namespace = "default",
) -> None:
    """Open the page of a training run, while it runs as well, or of an evaluation."""
    import webbrowser

    from tunesmith_operator.local import pages

    here = State(state)
    page = pages.page_of(here, names.find(here, what, namespace))
    typer.echo(page)
    if browser and isinstance(page, Path):
        webbrowser.open(page.as_uri())


@app.command()
@_says_errors
def delete(
    what: Annotated[list[str], typer.Argument(metavar="KIND/NAME...", show_default=False)],
    state: StateFolder = Path(DEFAULT_FOLDER),
    namespace: Namespace = "default",
) -> None:
    """Forget resources and their attempts. What they wrote to volumes stays."""
    from tunesmith_operator.local.runs import Run, belongs_to

    here = State(state)
    with here.locked():
        chosen = [names.find(here, each, namespace) for each in what]
        for resource in chosen:
            for folder in here.run_folders():
                config = Run(folder).config()
                if config is not None and belongs_to(config, resource):
                    here.remove_run(folder)
            here.remove(resource.kind, resource.metadata.namespace, resource.metadata.name)
            typer.echo(f"{tables.label(resource)} deleted")
            if left := names.written_by(resource):
                typer.echo(f"  left on volumes: {', '.join(left)}")


@app.command()
@_says_errors
def validate(file: Files, more: MoreFiles = None) -> None:
    """Check manifests offline and say all that is wrong with them."""
    resources = manifests.load([*file, *(more or [])])
    for resource in resources:
        typer.echo(f"{tables.label(resource)} is valid")


@app.command()
@_says_errors
def render(
    file: Files,
    more: MoreFiles = None,
    backend: Annotated[
        Backend, typer.Option(help="Backend of training whose spec leaves the choice. auto: as without KubeRay.")
    ] = Backend.AUTO,
    image: Annotated[str | None, typer.Option(help="Image of the runtime.", show_default=False)] = None,
) -> None:
    """Print the Kubernetes objects that would be created now; waiting resources as comments."""
    from tunesmith_operator.backends import native
    from tunesmith_operator.rendering import rendered

    settings = native.Settings(image=image or f"{RUNTIME_IMAGE}:{version('tunesmith')}", backend=backend.value)
    try:
        text = rendered(manifests.load([*file, *(more or [])]), settings, _now())
    except native.RenderError as error:
        _fail(str(error))
    typer.echo(text, nl=False)


for _command in (
    rollout_commands.promote,
    rollout_commands.pause,
    rollout_commands.resume,
    rollout_commands.abort,
    rollout_commands.undo,
):
    app.command()(_says_errors(_command))

app.add_typer(key_commands.app, name="keys")


def _claim_and_folder(text: str) -> tuple[str, Path]:
    claim, separator, folder = text.partition("=")
    if not separator or not claim or not folder or "/" in claim:
        raise StateError(f"--volume {text}: write it as CLAIM=FOLDER")
    return claim, Path(folder)


def _plain(resources: tuple[Resource, ...], what: str | None) -> Any:
    plain = [resource.to_json() for resource in resources]
    return plain[0] if what and "/" in what else {"apiVersion": "v1", "kind": "List", "items": plain}


def main() -> None:
    """Run the command line."""
    # A pipe that is closed early, such as `tunesmith logs ... | head`, is no error.
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
