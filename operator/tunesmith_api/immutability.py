"""Which parts of a spec may not change once a job has started: its result would no longer be what the spec says."""

from tunesmith_api.base import Kind
from tunesmith_api.resources import EvalJob, FineTuneJob, Resource

IMMUTABLE_ONCE_STARTED: dict[Kind, tuple[str, ...]] = {
    "FineTuneJob": ("model", "data", "method", "training", "checkpoints", "output"),
    "EvalJob": ("target", "baseline", "suites", "gates", "batchSize", "report"),
}


def changed_fields(old: Resource, new: Resource) -> list[str]:
    """Return the fields, such as spec.training, that differ and may not, because `old` has started."""
    if not isinstance(old, FineTuneJob | EvalJob) or old.status.phase == "Pending":
        return []
    before, after = old.spec.to_json(), new.spec.to_json()
    return [f"spec.{name}" for name in IMMUTABLE_ONCE_STARTED[old.kind] if before.get(name) != after.get(name)]
