"""What a running workload is doing, for people."""

from dataclasses import dataclass
from datetime import datetime

from tunesmith_api.contract import ProgressDocument
from tunesmith_api.meta import Reference
from tunesmith_api.resources import Resource, reference
from tunesmith_operator.planner import ObservedWorkload


@dataclass(frozen=True)
class Activity:
    """One running workload; `total` is 0 as long as nobody knows it."""

    of: Reference
    stage: str
    unit: str = ""
    done: int = 0
    total: int = 0
    facts: tuple[str, ...] = ()
    eta: datetime | None = None

    def text(self, now: datetime) -> str:
        """Return the activity in words: `step 20/60, loss 2.31, 1,234 tokens/s, 2 min 10 s left`."""
        parts = [f"{self.unit} {self.done}/{self.total}" if self.total else self.stage, *self.facts]
        if self.eta is not None and self.done < self.total:
            parts.append(f"{duration((self.eta - now).total_seconds())} left")
        return ", ".join(parts)


def activity(resource: Resource, workload: ObservedWorkload) -> Activity | None:
    """Return what a workload of a resource is doing, or None when it has ended or serves."""
    if workload.state not in {"Pending", "Running"} or workload.ready:
        return None
    of, progress = reference(resource), workload.progress
    if progress is None:
        return Activity(of, workload.message or "starting")
    stage = progress.stage or "starting"
    if progress.training is not None:
        training = progress.training
        return Activity(of, stage, "step", training.step, training.total_steps, _facts(progress), training.eta)
    if progress.rating is not None:
        return Activity(of, stage, "vote", progress.rating.votes, progress.rating.needed, (progress.rating.url,))
    if progress.samples is not None:
        return Activity(of, stage, "sample", progress.samples.done, progress.samples.total)
    return Activity(of, stage)


def _facts(progress: ProgressDocument) -> tuple[str, ...]:
    training, facts = progress.training, []
    if progress.tuning is not None:
        ended = sum(trial.state != "Running" for trial in progress.tuning.trials)
        facts.append("1 trial ended" if ended == 1 else f"{ended} trials ended")
    if training is not None and training.loss is not None:
        facts.append(f"loss {training.loss:.3f}")
    if training is not None and training.eval_loss is not None:
        facts.append(f"evaluation loss {training.eval_loss:.3f}")
    if training is not None and training.tokens_per_second is not None:
        facts.append(f"{training.tokens_per_second:,.0f} tokens/s")
    return tuple(facts)


def duration(seconds: float) -> str:
    """Return a time span in two units at most: 45 s, 2 min 10 s, 3 h 5 min, 2 d 4 h."""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left} s"
    unit, size, smaller, divisor = next(row for row in _UNITS if left >= row[1])
    rest = left % size // divisor
    return f"{left // size} {unit}" + (f" {rest} {smaller}" if rest else "")


# unit, its seconds, the unit below it, that one's seconds
_UNITS = (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))
