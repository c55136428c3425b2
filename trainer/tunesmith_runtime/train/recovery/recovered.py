"""The first step after workers were lost."""

import time

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith_runtime.progress import ProgressReporter


class Recovered(TrainerCallback):
    """Says with the first step after a loss that training goes on, from where, and how long that took."""

    def __init__(self, reporter: ProgressReporter, lost_at: float, resumed_from: int, before: int = 0) -> None:
        """Take the moment of the loss by the monotonic clock, and the step of the checkpoint, 0 for none.

        `before` are the optimizer steps of the run that came before this training.
        """
        self._reporter = reporter
        self._lost_at: float | None = lost_at
        self._resumed_from = before + resumed_from

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Complete what is known of the last loss."""
        if self._lost_at is None or not state.is_world_process_zero:
            return
        seconds, self._lost_at = round(time.monotonic() - self._lost_at, 1), None
        known = self._reporter.read().recoveries
        if not known:
            return
        last = known[-1].model_copy(update={"resumed_from_step": self._resumed_from, "seconds": seconds})
        self._reporter.update(recoveries=(*known[:-1], last))
        print(  # noqa: T201 - the run's log
            f"recovered from the loss of {last.worker} in {seconds} s: training goes on from step {self._resumed_from}",
            flush=True,
        )
