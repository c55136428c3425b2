"""Valid resources that together contain every field of the API, for tests to break one thing at a time."""

import copy
from typing import Any

from tests.builders import manifest
from tunesmith_api.base import Kind
from tunesmith_api.metrics import METRICS

Object = dict[str, Any]

THEN = "2026-01-02T03:04:05Z"
POD_TEMPLATE: Object = {
    "image": "registry.example/runtime:1",
    "labels": {"team": "support"},
    "annotations": {"example.com/why": "a test"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "batch",
    "runtimeClassName": "nvidia",
    "imagePullSecrets": [{"name": "registry"}],
    "env": [{"name": "LEVEL", "value": "debug"}],
    "volumes": [{"name": "scratch", "emptyDir": {}}],
    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    "serviceAccountName": "trainer",
}
RUN: Object = {
    "resources": {"gpu": 1, "cpu": "500m", "memory": "16Gi"},
    "podTemplate": POD_TEMPLATE,
    "secretRefs": [{"name": "hub-token"}],
}
CONDITION: Object = {
    "type": "Reconciling",
    "status": "True",
    "reason": "Running",
    "message": "attempt 1 is at work",
    "observedGeneration": 1,
    "lastTransitionTime": THEN,
}
MODEL: Object = {"uri": "pvc://models/bot", "digest": "sha256:0", "adapter": True}
ATTEMPT: Object = {
    "number": 1,
    "workload": "bot-a1",
    "startedAt": THEN,
    "endedAt": THEN,
    "reason": "Crashed",
    "message": "the process ended",
    "fromStep": 0,
    "toStep": 10,
}
# A job that has not started may still change: the status says Pending.
JOB_STATUS: Object = {
    "phase": "Pending",
    "observedGeneration": 1,
    "attempt": 1,
    "attempts": [ATTEMPT],
    "startedWith": {"model": "0" * 64},
    "conditions": [CONDITION],
}

FINE_TUNE_JOB_STATUS: Object = JOB_STATUS | {
    "progress": {
        "step": 10,
        "totalSteps": 20,
        "epoch": 0.5,
        "percent": 50,
        "loss": 1.5,
        "evalLoss": 1.6,
        "learningRate": 0.1,
        "tokensPerSecond": 100.5,
        "realTokenRatio": 0.9,
        "eta": THEN,
    },
    "data": {"records": 1, "validationRecords": 1, "tokens": 1, "dropped": {"overlong": 1, "empty": 1}},
    "checkpoints": {"latest": {"step": 10, "uri": "pvc://models/bot-checkpoints/10"}},
    "output": MODEL,
}
EVAL_JOB_STATUS: Object = JOB_STATUS | {
    "verdict": "Passed",
    "target": MODEL,
    "baseline": MODEL,
    "percent": 50,
    "results": [{"metric": "facts/f1", "value": 0.5, "baseline": 0.25, "delta": 0.25, "n": 10}],
    "gates": [{"metric": "facts/f1", "passed": True, "message": "facts/f1 is 0.5 and meets min 0.4"}],
    "report": "pvc://reports/bot/report.html",
}
MODEL_SERVE_STATUS: Object = {
    "phase": "Pending",
    "observedGeneration": 1,
    "url": "http://bot.default.svc:8000",
    "revision": 1,
    "serving": MODEL,
    "conditions": [CONDITION],
}

_TRAIN: Object = {"name": "tickets", "uri": "pvc://data/train.jsonl", "format": "messages"}
_FINE_TUNE_JOB: Object = RUN | {
    "model": {"uri": "pvc://models/base"},
    "data": {
        "train": [_TRAIN],
        "validation": {"fraction": 0.1},
        "maxLength": 512,
        "packing": "bfd",
        "seed": 1,
    },
    "method": {
        "type": "sft",
        "adapter": {"type": "lora", "r": 8, "alpha": 16, "dropout": 0.1, "targetModules": ["q_proj"]},
    },
    "training": {
        "numTrainEpochs": 1.5,
        "maxSteps": 10,
        "perDeviceTrainBatchSize": 2,
        "perDeviceEvalBatchSize": 2,
        "gradientAccumulationSteps": 2,
        "learningRate": 0.01,
        "lrSchedulerType": "cosine",
        "warmupSteps": 5,
        "weightDecay": 0.1,
        "maxGradNorm": 0.5,
        "seed": 1,
    },
    "deepspeed": {"zeroStage": 3},
    "checkpoints": {"uri": "pvc://models/bot-checkpoints", "everySteps": 5, "keep": 3},
    "output": {"uri": "pvc://models/bot"},
    "workers": 2,
    "runPolicy": {"maxAttempts": 2},
}
_VALIDATED: Object = _FINE_TUNE_JOB | {
    "data": _FINE_TUNE_JOB["data"]
    | {"validation": {"dataset": {"uri": "pvc://data/heldout.jsonl", "format": "messages"}}},
}
# Without gates, which would have to change with every suite.
_EVAL_JOB: Object = RUN | {
    "target": {"fineTuneJob": "bot"},
    "baseline": {"fineTuneJob": "base"},
    "suites": [
        {
            "name": "facts",
            "golden": {
                "uri": "pvc://data/heldout.jsonl",
                "format": "promptCompletion",
                "metrics": ["f1"],
                "maxNewTokens": 32,
            },
        },
        {"name": "prose", "perplexity": {"uri": "pvc://data/prose.jsonl", "format": "text", "maxLength": 512}},
    ],
    "batchSize": 4,
    "report": {"uri": "pvc://reports/bot"},
    "runPolicy": {"maxAttempts": 2},
}
_BY_URI: Object = _EVAL_JOB | {"target": {"uri": "pvc://models/bot"}, "baseline": {"uri": "hf://org/base@main"}}
# So many metrics that spec.gates can be filled.
GOLDEN_METRICS: list[str] = [name for name in METRICS if name != "perplexity"]
_GATED: Object = _EVAL_JOB | {
    "suites": [
        {"name": f"suite-{number}", "golden": {"uri": "pvc://data/heldout.jsonl", "metrics": GOLDEN_METRICS}}
        for number in range(10)
    ],
    "gates": [{"metric": f"suite-0/{GOLDEN_METRICS[0]}", "min": 0.25, "max": 1.0, "minImprovement": 0.5}],
}
_MODEL_SERVE: Object = RUN | {
    "model": {"fineTuneJob": "bot"},
    "engine": {"type": "transformers"},
    "requires": [{"evalJob": "bot-eval"}],
    "port": 9000,
    "replicas": 2,
}
_SERVED_BY_URI: Object = _MODEL_SERVE | {"model": {"uri": "hf://org/name"}}

_SPECS: dict[Kind, tuple[Object, ...]] = {
    "FineTuneJob": (_FINE_TUNE_JOB, _VALIDATED),
    "EvalJob": (_EVAL_JOB, _BY_URI, _GATED),
    "ModelServe": (_MODEL_SERVE, _SERVED_BY_URI),
}
_STATUS: dict[Kind, Object] = {
    "FineTuneJob": FINE_TUNE_JOB_STATUS,
    "EvalJob": EVAL_JOB_STATUS,
    "ModelServe": MODEL_SERVE_STATUS,
}


def whole(kind: Kind) -> list[Object]:
    """Return resources of a kind that together contain every field of its spec and status."""
    made = [manifest(kind, "whole", spec) | {"status": _STATUS[kind]} for spec in _SPECS[kind]]
    return copy.deepcopy(made)
