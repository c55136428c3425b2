"""What people tell a rollout, in annotations of the ModelServe: no Git has them, and the spec stays as it is.

Each names the revision that it is about, so that it says nothing about any other one.
"""

from dataclasses import dataclass

from tunesmith_api.base import GROUP
from tunesmith_api.resources import ModelServe

# `true`: the rollout stands still.
PAUSED = f"{GROUP}/paused"
# REVISION/STEP: this step needs nothing more. REVISION: no step does, and the revision takes over.
PROMOTE = f"{GROUP}/promote"
# REVISION: it is taken back.
ABORT = f"{GROUP}/abort"
# REVISION@GENERATION: as long as the spec is of this generation, this revision is what is wanted.
UNDO = f"{GROUP}/undo-to"


@dataclass(frozen=True)
class Commands:
    """What people have told."""

    paused: bool
    promote: str
    abort: str
    # The revision that is wanted in place of what the spec says.
    undo_to: int | None

    def aborts(self, revision: int) -> bool:
        """Return whether a revision is to be taken back."""
        return self.abort == str(revision)

    def promotes(self, revision: int) -> bool:
        """Return whether a revision is to take over without further steps."""
        return self.promote == str(revision)

    def approves(self, revision: int, step: int) -> bool:
        """Return whether a step of a revision's rollout needs nothing more."""
        return self.promotes(revision) or self.promote == f"{revision}/{step}"


def read(serve: ModelServe) -> Commands:
    """Return what a ModelServe's annotations tell. What makes no sense tells nothing."""
    told = serve.metadata.annotations
    number, _, generation = told.get(UNDO, "").partition("@")
    undone = number.isdecimal() and generation == str(serve.metadata.generation)
    return Commands(
        paused=told.get(PAUSED) == "true",
        promote=told.get(PROMOTE, ""),
        abort=told.get(ABORT, ""),
        undo_to=int(number) if undone else None,
    )
