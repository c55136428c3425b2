"""The commands of the command line that are about rollouts."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tunesmith_api.resources import ModelServe
from tunesmith_operator import rollouts
from tunesmith_operator.local.state import DEFAULT_FOLDER, State
from tunesmith_operator.rollouts import Annotations

StateFolder = Annotated[
    Path, typer.Option("--state", envvar="TUNESMITH_STATE", help="Folder that the local shell keeps its state in.")
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the ModelServe.")]
What = Annotated[str, typer.Argument(metavar="mserve/NAME", show_default=False)]
InCluster = Annotated[
    bool, typer.Option("--cluster", help="The ModelServe of the kubeconfig's cluster, not one of this machine.")
]


def promote(
    what: What,
    full: Annotated[bool, typer.Option("--full", help="Leave out all further steps.")] = False,
    cluster: InCluster = False,
    state: StateFolder = Path(DEFAULT_FOLDER),
    namespace: Namespace = "default",
) -> None:
    """Let a rollout that waits for approval go on."""
    _tell(what, cluster, state, namespace, lambda serve: rollouts.promote(serve, full=full))


def pause(
    what: What, cluster: InCluster = False, state: StateFolder = Path(DEFAULT_FOLDER), namespace: Namespace = "default"
) -> None:
    """Let rollouts stand still; a revision that fails is still taken back."""
    _tell(what, cluster, state, namespace, rollouts.pause)


def resume(
    what: What, cluster: InCluster = False, state: StateFolder = Path(DEFAULT_FOLDER), namespace: Namespace = "default"
) -> None:
    """Let rollouts go on."""
    _tell(what, cluster, state, namespace, rollouts.resume)


def abort(
    what: What, cluster: InCluster = False, state: StateFolder = Path(DEFAULT_FOLDER), namespace: Namespace = "default"
) -> None:
    """Take back the revision that is rolled out."""
    _tell(what, cluster, state, namespace, rollouts.abort)


def undo(
    what: What,
    to: Annotated[
        int | None,
        typer.Option(
            "--to-revision", min=1, help="Which one; the one that served last unless given.", show_default=False
        ),
    ] = None,
    cluster: InCluster = False,
    state: StateFolder = Path(DEFAULT_FOLDER),
    namespace: Namespace = "default",
) -> None:
    """Roll out an earlier revision again; it stays until the spec changes."""
    _tell(what, cluster, state, namespace, lambda serve: rollouts.undo(serve, to))


def _tell(
    what: str,
    cluster: bool,
    state: Path,
    namespace: str,
    command: Callable[[ModelServe], tuple[Annotations, str]],
) -> None:
    place: rollouts.Place = rollouts.Cluster() if cluster else rollouts.Here(State(state))
    serve = place.read(what, namespace)
    annotations, said = command(serve)
    place.annotate(serve, annotations)
    typer.echo(said)
