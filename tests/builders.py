"""Resources for tests: a minimal valid spec, and what a test cares about on top of it."""

from typing import Any

from tunesmith_api.base import API_VERSION
from tunesmith_api.evaljob import EvalJobStatus
from tunesmith_api.finetunejob import FineTuneJobStatus
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_api.resources import EvalJob, FineTuneJob, ModelServe, Resource, parse

FINE_TUNE_JOB_SPEC: dict[str, Any] = {
    "model": {"uri": "pvc://models/base"},
    "data": {"train": [{"name": "tickets", "uri": "pvc://data/train.jsonl", "format": "messages"}]},
    "output": {"uri": "pvc://models/support-bot"},
}
EVAL_JOB_SPEC: dict[str, Any] = {
    "target": {"fineTuneJob": "support-bot"},
    "suites": [{"name": "facts", "golden": {"uri": "pvc://data/heldout.jsonl"}}],
    "report": {"uri": "pvc://reports/support-bot-eval"},
}
MODEL_SERVE_SPEC: dict[str, Any] = {"model": {"fineTuneJob": "support-bot"}}


def manifest(kind: str, name: str, spec: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    """Return a manifest as plain values."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def fine_tune_job(
    name: str = "support-bot",
    namespace: str = "default",
    uid: str | None = None,
    status: FineTuneJobStatus | None = None,
    **spec: Any,
) -> FineTuneJob:
    """Return a FineTuneJob; keywords replace fields of its spec, in camelCase."""
    built = _build("FineTuneJob", name, namespace, uid, {**FINE_TUNE_JOB_SPEC, **spec}, status)
    assert isinstance(built, FineTuneJob)
    return built


def eval_job(
    name: str = "support-bot-eval",
    namespace: str = "default",
    uid: str | None = None,
    status: EvalJobStatus | None = None,
    **spec: Any,
) -> EvalJob:
    """Return an EvalJob; keywords replace fields of its spec, in camelCase."""
    built = _build("EvalJob", name, namespace, uid, {**EVAL_JOB_SPEC, **spec}, status)
    assert isinstance(built, EvalJob)
    return built


def model_serve(
    name: str = "support-bot",
    namespace: str = "default",
    uid: str | None = None,
    status: ModelServeStatus | None = None,
    **spec: Any,
) -> ModelServe:
    """Return a ModelServe; keywords replace fields of its spec, in camelCase."""
    built = _build("ModelServe", name, namespace, uid, {**MODEL_SERVE_SPEC, **spec}, status)
    assert isinstance(built, ModelServe)
    return built


def _build(kind: str, name: str, namespace: str, uid: str | None, spec: dict[str, Any], status: Any) -> Resource:
    data = manifest(kind, name, spec, namespace)
    data["metadata"]["uid"] = uid or f"uid-{name}"
    built = parse(data)
    return built if status is None else built.model_copy(update={"status": status})
