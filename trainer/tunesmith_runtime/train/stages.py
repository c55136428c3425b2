"""A run that trains more than once: what is special about each of its trainings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What progress and history call the trainings of a run of two.
FIRST, SECOND = "training, stage 1 of 2", "training, stage 2 of 2"


@dataclass(frozen=True)
class Stage:
    """One of the trainings that make a run; by default the only one.

    `before` are the optimizer steps of the stage before, `after` those of the stage that follows, as far as they are
    known; `earlier` is what the stage before logged. `start` is the checkpoint whose weights training begins with, in
    place of the base model or a new adapter. `kept` are the numbers of the rows that are trained on, if not all of
    them. `resumes` says that the attempt begins with this stage, so that its checkpoint is what the attempt goes on
    from. `history` is the file of the run's course, by default that of the checkpoints.
    """

    title: str = "training"
    before: int = 0
    after: int = 0
    earlier: Sequence[Mapping[str, Any]] = ()
    start: Path | None = None
    kept: NDArray[np.int64] | None = None
    resumes: bool = True
    history: Path | None = None

    @property
    def is_one_of_several(self) -> bool:
        """Whether the run has another stage."""
        return bool(self.before or self.after)

    def logged(self, log: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return what the run has logged so far, by the steps of the run; `log` is what this stage did."""
        own = [{**entry, "step": int(entry.get("step", 0)) + self.before} for entry in log] if self.before else log
        return [*self.earlier, *own]


ONLY = Stage()
