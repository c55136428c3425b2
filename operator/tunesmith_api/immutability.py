"""Which parts of a spec may not change once a job has started: its result would no longer be what the spec says."""

import hashlib
import json

from tunesmith_api.base import Kind
from tunesmith_api.resources import EvalJob, FineTuneJob, Resource

IMMUTABLE_ONCE_STARTED: dict[Kind, tuple[str, ...]] = {
    "FineTuneJob": (
        "model",
        "data",
        "method",
        "training",
        "deepspeed",
        "checkpoints",
        "evaluation",
        "tuning",
        "output",
    ),
    "EvalJob": ("target", "baseline", "suites", "gates", "batchSize", "report"),
}


def changed_fields(old: Resource, new: Resource) -> list[str]:
    """Return the fields, such as spec.training, that differ and may not, because `old` has started."""
    if not isinstance(old, FineTuneJob | EvalJob) or not _has_started(old):
        return []
    before, after = old.spec.to_json(), new.spec.to_json()
    return [f"spec.{name}" for name in IMMUTABLE_ONCE_STARTED[old.kind] if before.get(name) != after.get(name)]


def _has_started(job: FineTuneJob | EvalJob) -> bool:
    """Return whether a job has had an attempt; one that was suspended from the start has not, nor has a schedule."""
    if isinstance(job, EvalJob) and job.spec.schedule is not None:
        return False
    never = job.status.phase == "Pending" or (job.status.phase == "Suspended" and not job.status.attempts)
    return not never


def fingerprints(job: FineTuneJob | EvalJob) -> dict[str, str]:
    """Return a SHA-256 of each part of the spec that may not change once the job has started.

    A field at its default counts as absent, so that a later version's new fields change nothing.
    """
    spec = job.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {name: _digest(spec[name]) for name in IMMUTABLE_ONCE_STARTED[job.kind] if name in spec}


def altered_fields(job: FineTuneJob | EvalJob) -> list[str]:
    """Return the names of the parts of the spec that are no longer what the job was started with."""
    then, now = job.status.started_with, fingerprints(job)
    return [name for name in IMMUTABLE_ONCE_STARTED[job.kind] if then and then.get(name) != now.get(name)]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
