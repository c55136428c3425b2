"""What a trial tells the search: how far it is, and what each of its checkpoints was measured to be."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tunesmith_api.contract import ProgressDocument
from tunesmith_api.evaluation import EVAL_LOSS
from tunesmith_api.finetunejob import CheckpointRecord
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.progress import ProgressReporter

# The fields of what a trial tells. STEP and VALUE, which come together, are those of a checkpoint.
STEP, VALUE, STEPS, TRAINING, FAILURE, ENDED = "step", "value", "steps", "training", "failure", "ended"
# How often a trial says how far it is between its checkpoints.
TELL_SECONDS = 5.0

Tell = Callable[[dict[str, Any]], None]


class DivergedError(RunError):
    """A trial whose loss is no number any more."""

    retryable = False


class TrialReporter(ProgressReporter):
    """Keeps the progress document of a trial and tells the search what is new in it.

    `told` are the steps whose values the search knows. `tell` does not return when the search ends the trial.
    """

    def __init__(
        self,
        path: Path,
        metric: str,
        tell: Tell,
        told: Iterable[int] = (),
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(path)
        self._metric = metric
        self._tell = tell
        self._told = set(told)
        self._seconds = seconds
        self._last = float("-inf")

    def update(self, **changes: Any) -> ProgressDocument:
        """Change the document; tell of each checkpoint once it is complete and measured.

        Raises DivergedError when the evaluation loss of a checkpoint is no number.
        """
        document = super().update(**changes)
        # Before its first checkpoint, a trial that goes on knows the best of those before.
        measured = document.checkpoint or document.best
        if measured is None:
            self._tell_now_and_then(document)
        elif measured.step not in self._told and (value := self._value(measured)) is not None:
            self._told.add(measured.step)
            self.tell(document, {STEP: measured.step, VALUE: value})
        elif "checkpoint" in changes and self._metric == EVAL_LOSS and self._value(measured) is None:
            raise DivergedError(f"{EVAL_LOSS} at step {measured.step} is no number: training has diverged")
        else:
            self._tell_now_and_then(document)
        return document

    def tell(self, document: ProgressDocument, news: dict[str, Any]) -> None:
        """Tell the search some news, and how far the trial is."""
        self._last = self._seconds()
        training = document.training
        steps = training.step if training else document.resumed_from_step or 0
        self._tell({STEPS: steps, TRAINING: training.to_json() if training else None, **news})

    def _tell_now_and_then(self, document: ProgressDocument) -> None:
        if document.training is not None and self._seconds() - self._last >= TELL_SECONDS:
            self.tell(document, {})

    def _value(self, checkpoint: CheckpointRecord) -> float | None:
        return next((each.value for each in checkpoint.metrics if each.metric == self._metric), None)
