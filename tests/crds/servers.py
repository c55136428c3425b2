"""ModelServes that together contain every field, and a status."""

from copy import deepcopy

from tests.crds.parts import ENDPOINT, POD_TEMPLATE, RUN, Object


def _template() -> Object:
    return {
        "spec": {
            "suites": [{"name": "facts", "golden": {"uri": "pvc://data/heldout.jsonl"}}],
            "gates": [{"metric": "facts/f1", "min": 0.5, "minImprovement": 0}],
            "report": {"uri": "pvc://reports/bot"},
        }
    }


_ROLLOUT: Object = {
    "strategy": "canary",
    "steps": [
        {"weight": 10, "pauseSeconds": 300, "approval": True, "evalJobTemplate": _template()},
        {"weight": 50, "pauseSeconds": 60},
    ],
    "evalJobTemplate": _template(),
    "analysis": {"maxErrorRate": 0.01, "maxLatencyP99Seconds": 8.5, "maxLatencyRatio": 2.5, "minRequests": 50},
    "maxInconclusive": 2,
    "progressDeadlineSeconds": 600,
    "scaleDownDelaySeconds": 60,
}
_PROMPT: Object = {
    "system": "You answer for Acme's support desk.",
    "fewShot": [{"user": "Is it open on Sunday?", "assistant": "No."}],
    "chainOfThought": "stepByStep",
}
_RETRIEVAL: Object = {
    "documents": [{"uri": "pvc://data/handbook"}, {"uri": "s3://bucket/faq.jsonl"}],
    "chunks": {"size": 1000, "overlap": 90},
    "embeddings": {
        "url": "http://encoder.default.svc:8000/v1",
        "model": "encoder",
        "apiKeySecretRef": {"name": "openai", "key": "api-key"},
        "queryPrefix": "query: ",
        "chunkPrefix": "passage: ",
    },
    "indexUri": "pvc://data/handbook-index",
    "topK": 6,
    "minScore": 0.5,
    "timeoutSeconds": 5,
    "refreshSeconds": 60,
    "onFailure": "refuse",
}
_TOOLS: Object = {
    "http": [
        {
            "name": "weather",
            "description": "Tells the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            "url": "http://weather.default.svc/now",
            "method": "GET",
            "headersSecretRef": {"name": "weather", "key": "headers"},
            "timeoutSeconds": 5,
            "maxBytes": 4096,
        }
    ],
    "maxRounds": 3,
}
_MODEL_SERVE: Object = RUN | {
    "model": {"fineTuneJob": "bot"},
    "adapters": [
        {"name": "legal", "fineTuneJob": "legal", "requires": [{"evalJob": "legal-eval"}]},
        {"name": "tone", "uri": "pvc://models/tone"},
    ],
    "engine": {"type": "transformers"},
    "modelCache": {"claimName": "models"},
    "requires": [{"evalJob": "bot-eval"}],
    "prompt": _PROMPT,
    "rollout": _ROLLOUT,
    "revisionHistoryLimit": 5,
    "port": 9000,
    "replicas": 2,
    "scaling": {"minReplicas": 1, "maxReplicas": 8, "targetInFlight": 4, "scaleDownDelaySeconds": 120},
    "auth": {"apiKeysSecretRef": {"name": "bot-keys"}},
    "limits": {"requestsPerMinute": 60, "tokensPerMinute": 10_000, "maxConcurrentRequests": 4},
    "requests": {"maxBytes": 2_000_000, "bodyTimeoutSeconds": 20, "timeoutSeconds": 300},
    "hold": {"maxRequests": 100, "timeoutSeconds": 120},
    "traffic": {
        "provider": "gateway",
        "replicas": 2,
        "resources": {"cpu": "500m", "memory": "256Mi", "gpu": 1},
        "podTemplate": POD_TEMPLATE,
        "sticky": {"by": "header", "header": "x-team"},
    },
    "capture": {"uri": "pvc://data/traffic", "sample": 0.5, "redactPii": True, "format": "parquet"},
    "logContents": True,
    "retrieval": _RETRIEVAL,
    "tools": _TOOLS,
    "watch": {
        "drift": {
            "reference": {"uri": "pvc://data/train.jsonl", "format": "messages"},
            "windowRequests": 200,
            "method": "mmd",
            "threshold": 0.5,
        },
        "watcher": {
            "endpoint": ENDPOINT,
            "goodLabel": "fine",
            "sample": 0.5,
            "rubric": "Is it polite?",
            "minScore": 0.5,
            "windowAnswers": 20,
        },
        "evalJobTemplate": _template(),
    },
}
_SERVED_BY_URI: Object = _MODEL_SERVE | {"model": {"uri": "hf://org/name"}}
_SERVED_BY_VLLM: Object = _MODEL_SERVE | {
    "engine": {
        "type": "vllm",
        "args": {
            "maxModelLen": 4096,
            "tensorParallelSize": 2,
            "pipelineParallelSize": 2,
            "quantization": "fp8",
            "dtype": "bfloat16",
            "kvCacheDtype": "fp8",
            "gpuMemoryUtilization": 0.9,
            "maxNumSeqs": 64,
            "maxNumBatchedTokens": 8192,
            "maxLoras": 4,
            "maxLoraRank": 32,
            "enforceEager": True,
            "enablePrefixCaching": True,
            "enableChunkedPrefill": True,
            "seed": 7,
        },
        "extraArgs": {"max-log-len": "200"},
    }
}
_SERVED_BY_ANOTHER: Object = _MODEL_SERVE | {
    "engine": {
        "type": "custom",
        "custom": {
            "image": "registry.example/server:1",
            "command": ["serve"],
            "args": ["--model", "$(TUNESMITH_MODEL)"],
            "port": 8080,
            "healthPath": "/healthz",
        },
    }
}
_ROUTED: Object = {
    "model": {"uri": "hf://org/name"},
    "traffic": {
        "provider": "gatewayAPI",
        "route": {
            "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
            "hostnames": ["bot.example.com"],
        },
    },
}
MODEL_SERVES = (_MODEL_SERVE, _SERVED_BY_URI, _SERVED_BY_VLLM, _SERVED_BY_ANOTHER, _ROUTED)

_TIME = "2026-11-21T12:00:00Z"
_MODEL: Object = {"uri": "pvc://models/bot", "digest": "sha256:aa", "adapter": True, "partial": True}
_REVISION: Object = {
    "number": 4,
    "generation": 3,
    "createdAt": _TIME,
    "promotedAt": _TIME,
    "state": "Degraded",
    "reason": "AnalysisFailed",
    "message": "revision 4 failed 3 of 40 requests",
    "evaluations": [{"name": "bot-v4-s0", "step": 0, "verdict": "Passed", "message": "EvalJob bot-v4-s0: Passed"}],
    "template": RUN
    | {
        "model": _MODEL,
        "adapters": [_MODEL | {"name": "legal"}],
        "engine": {"type": "transformers"},
        "modelCache": {"claimName": "models"},
        "prompt": _PROMPT,
    },
    "adapters": [_MODEL | {"name": "tone"}],
}
_SHARE: Object = {"revision": 3, "weight": 90, "actualWeight": 88.9, "replicas": 8, "readyReplicas": 7}
MODEL_SERVE_STATUS: Object = {
    "phase": "Progressing",
    "observedGeneration": 4,
    "url": "http://bot.default.svc:8000",
    "revision": 5,
    "serving": _MODEL,
    "stable": _SHARE,
    "canary": _SHARE | {"revision": 5, "weight": 10, "actualWeight": 11.1},
    "adapters": [{"name": "legal", "readyReplicas": 7, "message": "pvc://models/legal is no adapter"}],
    "replicas": 8,
    "httpRoute": "bot",
    "selector": "app.kubernetes.io/name=tunesmith-serve",
    "scaling": {"replicas": 8, "fewerSince": _TIME},
    "rollout": {
        "revision": 5,
        "stage": "Observing",
        "step": 1,
        "since": _TIME,
        "reachedAt": _TIME,
        "unreadySince": _TIME,
        "evaluations": [{"name": "bot-v5-s0", "step": 0, "verdict": "Passed", "message": "EvalJob bot-v5-s0: Passed"}],
    },
    "watch": {
        "drift": 0.5,
        "quality": 0.5,
        "episode": 2,
        "since": _TIME,
        "evaluation": {"name": "bot-w2", "verdict": "Failed", "message": "EvalJob bot-w2 gave the verdict Failed"},
        "earlier": ["bot-w1"],
    },
    "refused": 4,
    "revisions": [
        _REVISION,
        _REVISION | {"number": 5, "template": _REVISION["template"] | {"engine": deepcopy(_SERVED_BY_VLLM["engine"])}},
        _REVISION
        | {"number": 6, "template": _REVISION["template"] | {"engine": deepcopy(_SERVED_BY_ANOTHER["engine"])}},
    ],
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Serving",
            "message": "revision 3 answers",
            "observedGeneration": 4,
            "lastTransitionTime": _TIME,
        }
    ],
}
