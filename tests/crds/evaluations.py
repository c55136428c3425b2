"""EvalJobs that together contain every field, and suites of every kind."""

from tests.crds.parts import ENDPOINT, RUN, Object

GOLDEN: Object = {
    "uri": "pvc://data/heldout.jsonl",
    "format": "promptCompletion",
    "template": "{{ prompt }} Answer in JSON.",
    "metrics": ["f1", "jsonSchema", "regex", "numeric", "similarity"],
    "jsonSchema": {"type": "object"},
    "regex": "[0-9]+",
    "numericTolerance": {"absolute": 0.5, "relative": 0.01},
    "embeddingModel": "hf://org/encoder@main",
    "maxNewTokens": 32,
}
PERPLEXITY: Object = {
    "uri": "pvc://data/prose.jsonl",
    "format": "text",
    "metrics": ["perplexity"],
    "groupBy": "source",
    "maxLength": 512,
    "stride": 256,
}
CLASSIFICATION: Object = {
    "uri": "pvc://data/mail.jsonl",
    "labels": ["ham", "spam"],
    "template": "{{ text }}",
    "metrics": ["accuracy", "f1Macro"],
    "classMetrics": ["recall"],
    "maxNewTokens": 8,
}
EXTRACTION: Object = {
    "uri": "pvc://data/squad.json",
    "template": "{{ context }} {{ question }}",
    "noAnswer": "unanswerable",
    "metrics": ["f1"],
    "maxNewTokens": 32,
}
HARNESS: Object = {
    "name": "general",
    "harness": {
        "tasks": ["capitals"],
        "numFewshot": 2,
        "limit": 100,
        "applyChatTemplate": True,
        "systemInstruction": "Be brief.",
        "taskUris": ["pvc://data/tasks"],
        "inlineTasks": [{"name": "capitals", "config": {"dataset_path": "json", "output_type": "multiple_choice"}}],
    },
}
# Without gates, which would have to change with every suite.
_EVAL_JOB: Object = RUN | {
    "target": {"fineTuneJob": "bot"},
    "baseline": {"fineTuneJob": "base"},
    "suites": [
        {
            "name": "facts",
            "golden": GOLDEN,
        },
        {"name": "prose", "perplexity": PERPLEXITY},
        {"name": "mail", "classification": CLASSIFICATION},
        {"name": "squad", "extraction": EXTRACTION},
        {
            "name": "judged",
            "judge": {
                "uri": "pvc://data/questions.jsonl",
                "format": "promptCompletion",
                "endpoint": ENDPOINT,
                "criteria": [{"name": "tone", "description": "Kind words."}],
                "scale": {"min": 1, "max": 5},
                "pairwise": False,
                "maxNewTokens": 64,
                "maxTokens": 8,
                "humanLabels": "pvc://data/labels.jsonl",
            },
        },
        HARNESS,
        {
            "name": "safe",
            "safety": {
                "refusal": {
                    "harmful": "pvc://data/harmful.jsonl",
                    "harmless": "pvc://data/harmless.jsonl",
                    "format": "text",
                    "judge": {"endpoint": ENDPOINT, "maxTokens": 8},
                    "maxNewTokens": 64,
                },
                "personalData": {"uri": "pvc://data/asked.jsonl", "format": "text", "maxNewTokens": 64},
                "toxicity": {
                    "uri": "pvc://data/asked.jsonl",
                    "format": "text",
                    "classifier": "hf://org/toxic@main",
                    "toxicLabels": ["toxic"],
                    "samples": 4,
                    "temperature": 0.8,
                    "seed": 1,
                    "maxNewTokens": 32,
                },
                "robustness": {
                    "uri": "pvc://data/heldout.jsonl",
                    "format": "promptCompletion",
                    "levels": ["characters", "injections"],
                    "variants": 2,
                    "metric": "exactMatch",
                    "seed": 1,
                    "maxNewTokens": 32,
                },
                "bias": {"uri": "pvc://data/pairs.jsonl"},
                "memorisation": {
                    "uri": "pvc://data/train.jsonl",
                    "format": "text",
                    "prefixTokens": 32,
                    "matchTokens": 32,
                    "canaries": "pvc://data/canaries.jsonl",
                    "candidates": 500,
                    "seed": 1,
                },
            },
        },
        {
            "name": "words",
            "safety": {"toxicity": {"prompts": ["Go on."], "wordLists": ["pvc://data/words.txt"]}},
        },
        {
            "name": "people",
            "human": {
                "uri": "pvc://data/questions.jsonl",
                "format": "promptCompletion",
                "instructions": "Which answer would you rather send to a customer?",
                "votes": 3,
                "maxNewTokens": 64,
            },
        },
    ],
    "batchSize": 4,
    "parallelism": 4,
    "limits": {"maxRequests": 1000, "maxTokens": 1000000},
    "report": {"uri": "pvc://reports/bot"},
    "runPolicy": {"maxAttempts": 2, "activeDeadlineSeconds": 3600, "ttlSecondsAfterFinished": 600},
}
_UNDER_LOAD: Object = _EVAL_JOB | {
    "target": {"endpoint": ENDPOINT},
    "baseline": {"modelServe": "bot"},
    "suites": [
        {
            "name": "clients",
            "performance": {
                "uri": "pvc://data/prompts.jsonl",
                "format": "promptCompletion",
                "requests": 10,
                "warmupRequests": 1,
                "concurrency": 2,
                "maxNewTokens": 64,
                "seed": 1,
            },
        },
        {"name": "arrivals", "performance": {"promptWords": 100, "requestRate": 2.5}},
    ],
}
_BY_URI: Object = _EVAL_JOB | {
    "target": {"uri": "pvc://models/bot", "adapter": "pvc://models/adapter"},
    "baseline": {"uri": "hf://org/base@main", "adapter": "pvc://models/adapter"},
    "schedule": "0 3 * * *",
    "historyLimit": 5,
}
# Code can reach volumes only.
_WITH_CODE: Object = RUN | {
    "target": {"uri": "pvc://models/bot"},
    "suites": [{"name": "code", "harness": {"tasks": ["sums"], "taskUris": ["pvc://data/tasks"], "runsCode": True}}],
    "report": {"uri": "pvc://reports/bot"},
}
_OF_CHECKPOINTS: Object = _EVAL_JOB | {
    "target": {"fineTuneJob": "bot", "checkpoint": "10"},
    "baseline": {"fineTuneJob": "bot", "checkpoint": "10"},
}
# Without suites that need weights.
_ASKED: Object = _EVAL_JOB | {"suites": _EVAL_JOB["suites"][:1]}
_OF_SERVERS: Object = _ASKED | {"target": {"modelServe": "bot"}, "baseline": {"modelServe": "bot"}}
_OF_ENDPOINTS: Object = _ASKED | {"target": {"endpoint": ENDPOINT}, "baseline": {"endpoint": ENDPOINT}}
# So many metrics, each of which needs no other field, that spec.gates can be filled.
GOLDEN_METRICS: list[str] = ["exactMatch", "f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL"]
_COMPARED: Object = {"maxRegression": 0.5, "alpha": 0.1}
_GATED: Object = _EVAL_JOB | {
    "suites": [
        {"name": f"suite-{number}", "golden": {"uri": "pvc://data/heldout.jsonl", "metrics": GOLDEN_METRICS}}
        for number in range(10)
    ],
    "gates": [{"metric": f"suite-0/{GOLDEN_METRICS[0]}", "min": 0.25, "max": 1.0, "minImprovement": 0.5} | _COMPARED],
}

EVAL_JOBS: tuple[Object, ...] = (
    _EVAL_JOB,
    _BY_URI,
    _OF_CHECKPOINTS,
    _OF_SERVERS,
    _OF_ENDPOINTS,
    _UNDER_LOAD,
    _GATED,
    _WITH_CODE,
)
