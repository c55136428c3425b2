"""Valid resources that together contain every field of the API, for tests to break one thing at a time."""

import json

from tests.builders import manifest
from tests.crds.evaluations import CLASSIFICATION, EVAL_JOBS, EXTRACTION, GOLDEN, PERPLEXITY
from tests.crds.parts import ENDPOINT, RUN, Object
from tests.crds.servers import MODEL_SERVE_STATUS, MODEL_SERVES
from tunesmith_api.base import Kind

THEN = "2026-01-02T03:04:05Z"
CONDITION: Object = {
    "type": "Reconciling",
    "status": "True",
    "reason": "Running",
    "message": "attempt 1 is at work",
    "observedGeneration": 1,
    "lastTransitionTime": THEN,
}
MEASURED = [{"metric": "facts/f1", "value": 0.5}]
MODEL: Object = {"uri": "pvc://models/bot", "digest": "sha256:0", "adapter": True, "partial": True}
SUBJECT: Object = MODEL | {"base": "pvc://models/base", "endpoint": ENDPOINT}
ATTEMPT: Object = {
    "number": 1,
    "workload": "bot-a1",
    "startedAt": THEN,
    "runningSince": THEN,
    "endedAt": THEN,
    "reason": "Crashed",
    "message": "the process ended",
    "retryable": True,
    "stopping": "Suspended",
    "pod": "bot-a1-x",
    "nodes": ["node-a"],
    "fromStep": 0,
    "toStep": 10,
    "recoveries": 1,
    "gpus": 8,
    "gpuHours": 1.5,
}
# A job that has not started may still change: the status says Pending.
JOB_STATUS: Object = {
    "phase": "Pending",
    "observedGeneration": 1,
    "attempt": 1,
    "startedAt": THEN,
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
        "gradNorm": 1.5,
        "tokensPerSecond": 100.5,
        "paddedTokensPerSecond": 110.5,
        "samplesPerSecond": 3.5,
        "realTokenRatio": 0.9,
        "mfu": 0.4,
        "memoryBytes": 1_000_000,
        "stepTime": {
            "data": 0.1,
            "forward": 0.1,
            "backward": 0.1,
            "optimizer": 0.1,
            "communication": 0.1,
            "checkpoint": 0.1,
            "evaluation": 0.1,
            "other": 0.1,
        },
        "nodes": [{"name": "bot-a1", "tokensPerSecond": 50.5, "stepSeconds": 0.5, "memoryBytes": 1_000_000}],
        "stragglers": [{"name": "bot-a1", "factor": 2.0}],
        "streams": [{"name": "tickets", "loss": 1.5, "evalLoss": 1.6}],
        "metrics": MEASURED,
        "eta": THEN,
    },
    "data": {
        "records": 1,
        "validationRecords": 1,
        "tokens": 1,
        "truncated": 1,
        "split": 1,
        "redactions": 1,
        "redactedRecords": 1,
        "judged": 3,
        "dropped": {
            "overlong": 1,
            "empty": 1,
            "unlabelled": 1,
            "duplicates": 1,
            "nearDuplicates": 1,
            "language": 1,
            "tooShort": 1,
            "tooLong": 1,
            "contaminated": 1,
            "undecided": 1,
            "contradicted": 1,
        },
        "datasets": [{"name": "tickets", "records": 1, "tokens": 1, "share": 1.0, "passes": 1.5}],
    },
    "tuning": {
        "trials": [
            {
                "number": 1,
                "parameters": {"training.learningRate": "0.001"},
                "state": "Failed",
                "steps": 10,
                "value": 1.5,
                "step": 5,
                "message": "out of memory",
            }
        ],
        "best": 1,
    },
    "checkpoints": {
        "latest": {"step": 10, "uri": "pvc://models/bot-checkpoints/10", "metrics": MEASURED},
        "best": {"step": 5, "uri": "pvc://models/bot-checkpoints/5", "metrics": MEASURED},
        "skipped": [{"uri": "pvc://models/bot-checkpoints/15", "message": "its manifest is torn"}],
    },
    "output": MODEL,
    "workers": 1,
    "recoveries": [
        {
            "at": THEN,
            "worker": "bot-a1-workers-0",
            "reason": "OutOfMemory",
            "message": "it was killed",
            "step": 12,
            "resumedFromStep": 10,
            "seconds": 31.5,
        }
    ],
    "gpuHours": 1.5,
    "suspendedSince": THEN,
    "suspendedSeconds": 60,
    "watch": {"mark": "step 10", "since": THEN, "silent": True},
}
EVAL_JOB_STATUS: Object = JOB_STATUS | {
    "verdict": "Passed",
    "target": SUBJECT,
    "baseline": SUBJECT,
    "percent": 50,
    "parts": [{"suite": "facts", "attempts": JOB_STATUS["attempts"]}],
    "spent": {"requests": 10, "tokens": 1000},
    "ratingUrl": "http://rating-bot-e1.default.svc:8080/?key=k",
    "results": [
        {
            "metric": "facts/f1",
            "value": 0.5,
            "baseline": 0.25,
            "delta": 0.25,
            "higherIsBetter": True,
            "n": 10,
            "stderr": 0.1,
            "ci95": [0.3, 0.7],
            "pValue": 0.04,
        }
    ],
    "gates": [{"metric": "facts/f1", "passed": True, "message": "facts/f1 is 0.5 and meets min 0.4"}],
    "problems": ["tone: the judge cannot answer now"],
    "report": "pvc://reports/bot/report.html",
    "runs": [
        {
            "number": 1,
            "name": "bot-r1",
            "startedAt": THEN,
            "endedAt": THEN,
            "checkpoint": 10,
            "verdict": "Passed",
            "message": "the process ended",
            "metrics": MEASURED,
            "report": "pvc://reports/bot/bot-r1/report.html",
        }
    ],
    "nextRunAt": THEN,
}
_TRAIN: Object = {
    "name": "tickets",
    "uri": "hf://org/tickets",
    "format": "messages",
    "split": "train",
    "columns": {"messages": "turns"},
    "weight": 2.5,
}
_HELD_OUT: Object = {
    "uri": "hf://org/tickets",
    "format": "messages",
    "split": "test",
    "columns": {"messages": "turns"},
}
_FINE_TUNE_JOB: Object = RUN | {
    "model": {"uri": "pvc://models/base", "task": "causal-lm"},
    "data": {
        "train": [_TRAIN],
        "mixing": {"by": "tokens"},
        "quality": {
            "deduplicate": "near",
            "nearSimilarity": 0.9,
            "redactPii": True,
            "languages": ["en"],
            "minCharacters": 10,
            "maxCharacters": 100_000,
            "decontaminateAgainst": [_HELD_OUT],
            "decontaminationNgram": 10,
        },
        "validation": {"fraction": 0.1},
        "maxLength": 512,
        "overlong": "split",
        "packing": "bfd",
        "seed": 1,
    },
    "method": {
        "type": "sft",
        "adapter": {
            "type": "lora",
            "r": 8,
            "alpha": 16,
            "dropout": 0.1,
            "useRslora": True,
            "useDora": True,
            "rankPattern": {"q_proj": 4},
            "alphaPattern": {"q_proj": 8},
            "targetModules": ["q_proj"],
        },
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
        "labelSmoothingFactor": 0.1,
        "precision": "bf16",
        "activationCheckpointing": True,
        "torchCompile": False,
        "seed": 1,
    },
    "deepspeed": {
        "zeroStage": 3,
        "offload": {"optimizer": "nvme", "parameters": "cpu", "nvmePath": "/tmp/zero"},
        "config": {"wall_clock_breakdown": True},
    },
    "checkpoints": {"uri": "pvc://models/bot-checkpoints", "everySteps": 5, "keep": 3},
    "output": {"uri": "pvc://models/bot", "merge": True},
    "workers": 2,
    "backend": "kuberay",
    "queue": {"name": "research", "gang": "kueue"},
    "runPolicy": {
        "maxAttempts": 2,
        "activeDeadlineSeconds": 3600,
        "ttlSecondsAfterFinished": 600,
        "suspend": True,
        "gracePeriodSeconds": 60,
        "maxFailures": 5,
        "progressTimeoutSeconds": 120,
        "gpuHours": 64.5,
    },
}
_VALIDATED: Object = _FINE_TUNE_JOB | {
    "data": _FINE_TUNE_JOB["data"]
    | {
        "train": [{name: value for name, value in _TRAIN.items() if name != "weight"}],
        "mixing": {"temperature": 2.0},
        "validation": {"dataset": _HELD_OUT},
        "packing": "none",
        "lengthBuckets": [64, 512],
    },
    "method": {"type": "sft", "adapter": {"type": "lora", "loadIn4bit": True}},
    "deepspeed": {"zeroStage": 2},
}
_MEASURED: Object = {
    "model": {"uri": "pvc://models/base"},
    "data": {"train": [{"name": "tickets", "uri": "pvc://data/train.jsonl", "format": "messages"}]},
    "evaluation": {
        "suites": [
            {
                "name": "facts",
                "golden": GOLDEN,
            },
            {"name": "fresh", "perplexity": PERPLEXITY},
            {"name": "mail", "classification": CLASSIFICATION},
            {"name": "squad", "extraction": EXTRACTION},
        ],
        "parallel": True,
        "earlyStopping": {"metric": "facts/f1", "patience": 2, "minDelta": 0.5},
    },
    "output": {"uri": "pvc://models/bot"},
}
_ELASTIC: Object = {
    "model": {"uri": "pvc://models/base"},
    "data": {"train": [{"name": "tickets", "uri": "pvc://data/train.jsonl", "format": "messages"}]},
    "output": {"uri": "pvc://models/bot"},
    "workers": 4,
    "minWorkers": 2,
}
_TUNED: Object = {
    "model": {"uri": "pvc://models/base"},
    "data": {
        "train": [{"name": "tickets", "uri": "pvc://data/train.jsonl", "format": "messages"}],
        "validation": {"fraction": 0.1},
    },
    "tuning": {
        "parameters": [
            {"name": "training.weightDecay", "uniform": {"min": 0.1, "max": 0.5}},
            {"name": "training.learningRate", "logUniform": {"min": 0.001, "max": 0.01}},
            {"name": "training.warmupSteps", "intUniform": {"min": 1, "max": 10}},
            {"name": "method.adapter.r", "choice": ["8", "16"]},
        ],
        "metric": "facts/f1",
        "trials": 8,
        "maxConcurrentTrials": 2,
        "maxSeconds": 3600,
        "scheduler": {"type": "asha", "graceSteps": 10, "reductionFactor": 4},
        "seed": 1,
    },
    "evaluation": {"suites": [{"name": "facts", "golden": {"uri": "pvc://data/heldout.jsonl", "metrics": ["f1"]}}]},
    "output": {"uri": "pvc://models/bot"},
}


def _by(method: str, fmt: str, adapter: Object, **settings: Object | list[Object]) -> Object:
    train = {"name": "tickets", "uri": "pvc://data/train.jsonl", "format": fmt}
    return {
        "model": {"uri": "pvc://models/base"},
        "data": {"train": [train]},
        "method": {"type": method, "adapter": adapter, **settings},
        "output": {"uri": "pvc://models/bot"},
    }


_CONTINUED: Object = {"type": "lora", "continueFrom": "pvc://models/adapter"}
_METHODS: tuple[Object, ...] = (
    _by(
        "rm",
        "pairs",
        _CONTINUED,
        rm={
            "centerRewardsCoefficient": 0.01,
            "domain": {
                "train": [
                    {
                        "name": "domain",
                        "uri": "hf://org/domain",
                        "format": "preference",
                        "split": "train",
                        "columns": {"chosen": "good"},
                    }
                ],
                "level": 0.9,
                "numTrainEpochs": 2.0,
                "maxSteps": 10,
                "learningRate": 0.001,
            },
        },
    )
    | {
        "data": {
            "train": [{"name": "tickets", "uri": "pvc://data/train.jsonl", "format": "pairs"}],
            "validation": {"fraction": 0.1},
            "judge": {
                "url": "http://judge.default.svc/v1",
                "model": "wise",
                "criteria": "The better answer is shorter.",
                "temperature": 0.5,
                "maxTokens": 8,
                "maxConcurrency": 4,
                "timeoutSeconds": 30,
                "maxRetries": 3,
            },
        }
    },
    _by(
        "dpo",
        "preference",
        {"type": "prefix-tuning", "numVirtualTokens": 8},
        dpo={"beta": 0.2, "lossType": "robust", "labelSmoothing": 0.1},
    ),
    _by("kto", "kto", _CONTINUED, kto={"beta": 0.2, "desirableWeight": 1.5, "undesirableWeight": 0.5}),
    _by("orpo", "preference", _CONTINUED, orpo={"beta": 0.2}),
    _by(
        "grpo",
        "messages",
        _CONTINUED,
        rewards=[{"function": "f1", "weight": 2.0}],
        grpo={
            "numGenerations": 4,
            "maxCompletionLength": 32,
            "temperature": 0.9,
            "topP": 0.9,
            "beta": 0.1,
            "epsilon": 0.3,
            "numIterations": 2,
            "lossType": "grpo",
        },
    ),
    _by(
        "ppo",
        "messages",
        _CONTINUED,
        rewards=[{"model": "pvc://models/reward"}],
        ppo={
            "maxCompletionLength": 32,
            "temperature": 0.9,
            "klCoef": 0.1,
            "clipRange": 0.1,
            "clipRangeValue": 0.1,
            "vfCoef": 0.5,
            "gamma": 0.99,
            "lam": 0.9,
            "numIterations": 2,
            "numMiniBatches": 2,
            "whitenRewards": True,
            "missingEosPenalty": 1.0,
        },
    ),
    _by(
        "distill",
        "messages",
        _CONTINUED,
        distill={
            "teacher": "pvc://models/teacher",
            "maxCompletionLength": 32,
            "temperature": 0.9,
            "beta": 0.5,
            "lmbda": 0.5,
        },
    ),
)
_SPECS: dict[Kind, tuple[Object, ...]] = {
    "FineTuneJob": (_FINE_TUNE_JOB, _VALIDATED, _MEASURED, _TUNED, _ELASTIC, *_METHODS),
    "EvalJob": EVAL_JOBS,
    "ModelServe": MODEL_SERVES,
}
_STATUS: dict[Kind, Object] = {
    "FineTuneJob": FINE_TUNE_JOB_STATUS,
    "EvalJob": EVAL_JOB_STATUS,
    "ModelServe": MODEL_SERVE_STATUS,
}


def whole(kind: Kind) -> list[Object]:
    """Return resources of a kind that together contain every field of its spec and status."""
    made = [manifest(kind, "whole", spec) | {"status": _STATUS[kind]} for spec in _SPECS[kind]]
    copies: list[Object] = json.loads(json.dumps(made))  # not even two parts of one share an object
    return copies
