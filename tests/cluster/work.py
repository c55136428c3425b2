"""Resources for tests on a cluster, small ones that the stand-in for the runtime carries out."""

import json
from typing import Any

from tests.builders import EVAL_JOB_SPEC, FINE_TUNE_JOB_SPEC, MODEL_SERVE_SPEC, manifest
from tests.cluster.cluster import STANDIN_IMAGE, Object

EVALUATION: dict[str, Any] = {"gates": [{"metric": "facts/f1", "min": 0.5}]}


def standin(**wanted: Any) -> dict[str, Any]:
    """Return a pod template for the stand-in, which is told what to do."""
    return {"image": STANDIN_IMAGE, "env": [{"name": "STANDIN", "value": json.dumps(wanted)}]}


def job(name: str = "bot", wanted: dict[str, Any] | None = None, **spec: Any) -> Object:
    """Return a FineTuneJob that needs no volume."""
    plain = {**FINE_TUNE_JOB_SPEC, **_without_volumes(), "podTemplate": standin(**(wanted or {})), **spec}
    return _manifest("FineTuneJob", name, plain)


def evaluation(name: str = "bot", wanted: dict[str, Any] | None = None, of: str = "bot", **spec: Any) -> Object:
    """Return an EvalJob with a gate on the model of a FineTuneJob."""
    plain = {
        **EVAL_JOB_SPEC,
        **EVALUATION,
        "target": {"fineTuneJob": of},
        "suites": [{"name": "facts", "golden": {"uri": "s3://data/heldout.jsonl"}}],
        "report": {"uri": "s3://reports/bot"},
        "podTemplate": standin(**(wanted or {})),
        **spec,
    }
    return _manifest("EvalJob", name, plain)


def server(name: str = "bot", of: str = "bot", gate: str | None = "bot", **spec: Any) -> Object:
    """Return a ModelServe of the model of a FineTuneJob, behind an EvalJob."""
    gates = {"requires": [{"evalJob": gate}]} if gate else {}
    plain = {**MODEL_SERVE_SPEC, "model": {"fineTuneJob": of}, **gates, "podTemplate": standin(), **spec}
    return _manifest("ModelServe", name, plain)


def _without_volumes() -> dict[str, Any]:
    return {
        "model": {"uri": "s3://models/base"},
        "data": {"train": [{"name": "tickets", "uri": "s3://data/train.jsonl", "format": "messages"}]},
        "output": {"uri": "s3://models/bot"},
    }


def _manifest(kind: str, name: str, spec: dict[str, Any]) -> Object:
    plain = manifest(kind, name, spec)
    del plain["metadata"]["namespace"]
    return plain
