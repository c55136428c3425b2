"""Workers that were lost start again within the attempt, and the progress says so."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tunesmith_api.contract import Recovery
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.recovery.losses import Loss

# A progress document has the last of them.
_KEPT = 16


@dataclass
class Recoveries:
    """Counts the losses of an attempt and takes them down. `most` is how many it bears."""

    reporter: ProgressReporter
    most: int
    _count: int = field(default=0, init=False)

    def note(self, loss: Loss, error: RunError, lost_at: float) -> None:
        """Take down a loss; `lost_at` is its moment by the monotonic clock. Raises the error when it is one too many.

        The moment is that of the last sign of life: nobody sees the loss itself.
        """
        document = self.reporter.read()
        self._count += 1
        over = self._count > self.most
        recovery = Recovery(
            at=datetime.now(UTC) - timedelta(seconds=max(0.0, time.monotonic() - lost_at)),
            worker=loss.worker[:253],
            reason=loss.reason,
            message=loss.message[:1024],
            step=document.training.step if document.training else document.resumed_from_step or 0,
        )
        self.reporter.update(stage="starting the workers again", recoveries=(*document.recoveries, recovery)[-_KEPT:])
        print(  # noqa: T201 - the run's log
            f"lost at step {recovery.step}: {loss.worker}: {loss.reason}: {loss.message}; "
            + (
                f"this was loss {self._count} of the attempt, and spec.runPolicy.maxFailures is {self.most}"
                if over
                else f"starting the workers again ({self._count} of {self.most})"
            ),
            flush=True,
        )
        if over:
            failure = RunError(loss.message)
            failure.reason = loss.reason
            raise failure from error
