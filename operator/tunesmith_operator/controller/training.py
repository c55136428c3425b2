"""How training runs go, as metrics."""

from prometheus_client import Gauge

from tunesmith_api.base import StatusModel
from tunesmith_api.finetunejob import FineTuneJobStatus, StepTime, TrainingProgress
from tunesmith_operator.controller import metrics
from tunesmith_operator.controller.world import Key

_LIVE = {"Running", "Recovering"}


class TrainingMetrics:
    """The series of the FineTuneJobs that run: as many as there are such jobs, whatever has ended."""

    def __init__(self) -> None:
        self._shown: dict[Key, set[tuple[Gauge, tuple[str, ...]]]] = {}

    def set(self, key: Key, status: StatusModel) -> None:
        """Take note of a resource's status."""
        progress = status.progress if isinstance(status, FineTuneJobStatus) and status.phase in _LIVE else None
        values = _values(key, progress) if progress else {}
        for gauge, labels in self._shown.pop(key, set()) - set(values):
            gauge.remove(*labels)
        for (gauge, labels), value in values.items():
            gauge.labels(*labels).set(value)
        if values:
            self._shown[key] = set(values)

    def forget(self, key: Key) -> None:
        """Take note that a resource is gone."""
        for gauge, labels in self._shown.pop(key, set()):
            gauge.remove(*labels)


def _values(key: Key, progress: TrainingProgress) -> dict[tuple[Gauge, tuple[str, ...]], float]:
    job = (key.namespace, key.name)
    found = {
        metrics.TRAINING_STEP: progress.step,
        metrics.TRAINING_TOTAL_STEPS: progress.total_steps,
        metrics.TRAINING_LOSS: progress.loss,
        metrics.TRAINING_EVAL_LOSS: progress.eval_loss,
        metrics.TRAINING_GRAD_NORM: progress.grad_norm,
        metrics.TRAINING_TOKENS: progress.tokens_per_second,
        metrics.TRAINING_MFU: progress.mfu,
        metrics.TRAINING_MEMORY: progress.memory_bytes,
        metrics.TRAINING_END: progress.eta.timestamp() if progress.eta else None,
    }
    values: dict[tuple[Gauge, tuple[str, ...]], float] = {
        (gauge, job): float(value) for gauge, value in found.items() if value is not None
    }
    if progress.step_time is not None:
        for section in StepTime.model_fields:
            values[metrics.TRAINING_STEP_SECONDS, (*job, section)] = getattr(progress.step_time, section)
    for measured in progress.metrics:
        values[metrics.TRAINING_METRIC, (*job, measured.metric)] = measured.value
    for straggler in progress.stragglers:
        values[metrics.TRAINING_STRAGGLER, (*job, straggler.name)] = straggler.factor
    return values
