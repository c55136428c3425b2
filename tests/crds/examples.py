"""What the CEL rules take and refuse: a new rule needs its examples here."""

from dataclasses import dataclass
from typing import Any

from tests.builders import EVAL_JOB_SPEC, FINE_TUNE_JOB_SPEC, MODEL_SERVE_SPEC, manifest
from tunesmith_api.base import Kind
from tunesmith_api.modelserve import (
    ANALYSIS_NEEDS_GATEWAY,
    ONLY_THE_GATEWAY,
    SCALING_NEEDS_GATEWAY,
    WATCH_NEEDS_GATEWAY,
    WATCH_NEEDS_REFERENCE,
)
from tunesmith_api.rules import RULES, Rule
from tunesmith_api.serving.engine import ARGS_OF_VLLM, CUSTOM_NEEDED, CUSTOM_OF_CUSTOM
from tunesmith_api.serving.retrieval import OVERLAP_TOO_LONG
from tunesmith_api.serving.rollout import BOUND_NEEDED, NO_ANALYSIS_OF_RECREATE, STEPS_OF_CANARY
from tunesmith_api.serving.scaling import BOUNDS_CROSSED
from tunesmith_api.serving.traffic import ROUTE_OF_GATEWAY_API
from tunesmith_api.serving.watch import WATCH_NEEDED
from tunesmith_api.suites import Suite

Object = dict[str, Any]

_SPECS: dict[Kind, Object] = {
    "FineTuneJob": FINE_TUNE_JOB_SPEC,
    "EvalJob": EVAL_JOB_SPEC,
    "ModelServe": MODEL_SERVE_SPEC,
}


@dataclass(frozen=True)
class Examples:
    """Resources that a rule takes, and resources that it refuses at `place`. Of each, the spec's changed fields."""

    kind: Kind
    path: str
    message: str
    place: str
    taken: tuple[Object, ...]
    refused: tuple[Object, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.place}: {self.message}"

    @property
    def rule(self) -> Rule:
        """The rule that these are examples of."""
        (found,) = (rule for rule in RULES[self.kind] if (rule.path, rule.message) == (self.path, self.message))
        return found

    def resources_taken(self) -> list[Object]:
        return [self._resource(changes) for changes in self.taken]

    def resources_refused(self) -> list[Object]:
        return [self._resource(changes) for changes in self.refused]

    def _resource(self, changes: Object) -> Object:
        return manifest(self.kind, "example", _SPECS[self.kind] | changes)


def _validated(**validation: Any) -> Object:
    return {"data": FINE_TUNE_JOB_SPEC["data"] | {"validation": validation}}


def _measured(**suite: Any) -> Object:
    return {"evaluation": {"suites": [{"name": "facts", **suite}]}}


def _tuned(**domain: Any) -> Object:
    return _validated(fraction=0.1) | {
        "tuning": {"parameters": [{"name": "training.learningRate", **domain}], "trials": 1}
    }


def _suites(**suite: Any) -> Object:
    return {"suites": [{"name": "facts", **suite}]}


def _gated(*gates: Object, **changes: Any) -> Object:
    return {"gates": list(gates), **changes}


def _sticky(**sticky: Any) -> Object:
    return {"traffic": {"provider": "gateway", "sticky": sticky}}


def _cut(**chunks: Any) -> Object:
    return {**GATEWAY, "retrieval": {"documents": [{"uri": "pvc://a/b"}], "chunks": chunks}}


GATEWAY: Object = {"traffic": {"provider": "gateway"}}
CANARY: Object = {"strategy": "canary", "steps": [{"weight": 10}]}


def _analysed(**analysis: Any) -> Object:
    return {**GATEWAY, "rollout": {"analysis": analysis}}


JUDGED: Object = {"watch": {"watcher": {"endpoint": {"url": "http://judge/v1", "model": "wise"}}}}
REFERENCED: Object = {"watch": {"drift": {"reference": {"uri": "pvc://a/b"}}}}


def _adapters(*adapters: Object) -> Object:
    return {"adapters": [{"name": f"a{number}", **each} for number, each in enumerate(adapters)]}


HELD_OUT = {"uri": "pvc://data/heldout.jsonl", "format": "messages"}
GOLDEN = {"uri": "pvc://data/heldout.jsonl"}
PROSE = {"uri": "pvc://data/prose.jsonl"}
JUDGE = {"uri": "pvc://data/questions.jsonl", "endpoint": {"url": "http://judge.default.svc/v1", "model": "wise"}}
TASKS = {"tasks": ["mmlu"]}
PEOPLE = {"uri": "pvc://data/questions.jsonl"}
BY_JOB = {"fineTuneJob": "bot"}
BY_URI = {"uri": "pvc://models/bot"}
SPAN = {"min": 0.1, "max": 0.2}
BY_ENDPOINT = {"endpoint": {"url": "http://bot/v1", "model": "bot"}}
MAIL = {"uri": "pvc://data/mail.jsonl", "labels": ["ham", "spam"]}
KINDS = [str(field.alias) for name, field in Suite.model_fields.items() if name != "name"]
ONE_KIND = f"set exactly one of {', '.join(KINDS[:-1])} and {KINDS[-1]}"
ONE_MODEL = "set exactly one of fineTuneJob and uri"
ONE_TARGET = "set exactly one of fineTuneJob, uri, modelServe and endpoint"
OF_A_JOB = "checkpoint is one of a FineTuneJob's; set fineTuneJob, or drop checkpoint"
ON_A_BASE = "adapter goes on the model of uri; set uri, or drop adapter"
# Of as many kinds as there are.
ONE_SUITE = next(rule.message for rule in RULES["EvalJob"] if rule.path == "spec.suites[]")


def _targets(role: str) -> tuple[Examples, ...]:
    """Return the examples of the rules of target or baseline."""
    path, given = f"spec.{role}", ({} if role == "target" else {"target": BY_JOB})
    return (
        Examples(
            "EvalJob",
            path,
            ONE_TARGET,
            path,
            taken=tuple(given | {role: each} for each in (BY_JOB, BY_URI, BY_ENDPOINT, {"modelServe": "bot"})),
            refused=(given | {role: {}}, given | {role: BY_JOB | BY_URI}, given | {role: BY_URI | BY_ENDPOINT}),
        ),
        Examples(
            "EvalJob",
            path,
            OF_A_JOB,
            path,
            taken=(given | {role: BY_JOB | {"checkpoint": "best"}},),
            refused=(given | {role: BY_URI | {"checkpoint": "best"}},),
        ),
        Examples(
            "EvalJob",
            path,
            ON_A_BASE,
            path,
            taken=(given | {role: BY_URI | {"adapter": "pvc://models/adapter"}},),
            refused=(given | {role: BY_JOB | {"adapter": "pvc://models/adapter"}},),
        ),
    )


EXAMPLES: tuple[Examples, ...] = (
    Examples(
        "FineTuneJob",
        "spec.tuning.parameters[]",
        "set exactly one of uniform, logUniform, intUniform and choice",
        "spec.tuning.parameters[0]",
        taken=(
            _tuned(uniform=SPAN),
            _tuned(logUniform=SPAN),
            _tuned(intUniform={"min": 0, "max": 1}),
            _tuned(choice=["0.1"]),
        ),
        refused=(_tuned(), _tuned(uniform=SPAN, choice=["0.1"]), _tuned(uniform=SPAN, logUniform=SPAN)),
    ),
    *(
        Examples(
            "FineTuneJob",
            f"spec.tuning.parameters[].{domain}",
            "min must be less than max",
            f"spec.tuning.parameters[0].{domain}",
            taken=(_tuned(**{domain: {"min": 1, "max": 2}}),),
            refused=(_tuned(**{domain: {"min": 1, "max": 1}}), _tuned(**{domain: {"min": 2, "max": 1}})),
        )
        for domain in ("uniform", "logUniform", "intUniform")
    ),
    Examples(
        "FineTuneJob",
        "spec.data.validation",
        "set exactly one of fraction and dataset",
        "spec.data.validation",
        taken=({}, _validated(fraction=0.1), _validated(dataset=HELD_OUT)),
        refused=(_validated(), _validated(fraction=0.1, dataset=HELD_OUT)),
    ),
    Examples(
        "FineTuneJob",
        "spec.evaluation.suites[]",
        ONE_KIND,
        "spec.evaluation.suites[0]",
        taken=(
            _measured(golden=GOLDEN),
            _measured(perplexity=PROSE),
            _measured(classification=MAIL),
            _measured(extraction=GOLDEN),
        ),
        refused=(_measured(), _measured(golden=GOLDEN, perplexity=PROSE)),
    ),
    Examples(
        "FineTuneJob",
        "spec.evaluation.suites[].golden",
        "format text has no reference answers; use a format with a completion",
        "spec.evaluation.suites[0].golden",
        taken=(_measured(golden=GOLDEN | {"format": "squad"}),),
        refused=(_measured(golden=GOLDEN | {"format": "text"}),),
    ),
    *_targets("target"),
    *_targets("baseline"),
    Examples(
        "EvalJob",
        "spec.limits",
        "set maxRequests, maxTokens or both",
        "spec.limits",
        taken=(
            {"limits": {"maxRequests": 1}},
            {"limits": {"maxTokens": 1}},
            {"limits": {"maxRequests": 1, "maxTokens": 1}},
        ),
        refused=({"limits": {}},),
    ),
    Examples(
        "EvalJob",
        "spec",
        "schedule and checkpoint: each both say when to evaluate; drop one of them",
        "spec.schedule",
        taken=({"schedule": "0 3 * * *"}, {"target": BY_JOB | {"checkpoint": "each"}}),
        refused=({"schedule": "0 3 * * *", "target": BY_JOB | {"checkpoint": "each"}},),
    ),
    Examples(
        "EvalJob",
        "spec",
        "baseline.checkpoint: each is for the target; name best, last or a step",
        "spec.baseline",
        taken=({"baseline": BY_JOB | {"checkpoint": "10"}},),
        refused=({"baseline": BY_JOB | {"checkpoint": "each"}},),
    ),
    Examples(
        "EvalJob",
        "spec.suites[]",
        ONE_SUITE,
        "spec.suites[0]",
        taken=(
            _suites(golden=GOLDEN),
            _suites(perplexity=PROSE),
            _suites(classification=MAIL),
            _suites(extraction=GOLDEN),
            _suites(harness=TASKS),
            _suites(judge=JUDGE),
            _suites(safety={"bias": {"uri": "pvc://data/pairs.jsonl"}}),
            {"baseline": BY_JOB} | _suites(human=PEOPLE),
            {"target": {"modelServe": "bot"}} | _suites(performance={}),
        ),
        refused=(_suites(), _suites(golden=GOLDEN, perplexity=PROSE), _suites(golden=GOLDEN, judge=JUDGE)),
    ),
    Examples(
        "EvalJob",
        "spec.suites[].golden",
        "format text has no reference answers; use a format with a completion",
        "spec.suites[0].golden",
        taken=(_suites(golden=GOLDEN), _suites(golden=GOLDEN | {"format": "squad"})),
        refused=(_suites(golden=GOLDEN | {"format": "text"}),),
    ),
    Examples(
        "EvalJob",
        "spec.gates[]",
        "set at least one of min, max, minImprovement and maxRegression",
        "spec.gates[0]",
        taken=(
            _gated({"metric": "facts/f1", "min": 0}),
            _gated({"metric": "facts/f1", "max": 1}),
            _gated({"metric": "facts/f1", "minImprovement": 0}, baseline=BY_JOB),
            _gated({"metric": "facts/f1", "min": 0.5, "max": 1, "minImprovement": -0.5}, baseline=BY_JOB),
        ),
        refused=(_gated({"metric": "facts/f1"}),),
    ),
    Examples(
        "EvalJob",
        "spec",
        "every gate must be on a metric that one of the suites gives",
        "spec.gates",
        taken=(
            {},
            _gated(),
            # The metrics that a suite gives when it names none.
            _gated({"metric": "facts/exactMatch", "min": 0.5}, {"metric": "facts/f1", "min": 0.5}),
            _gated({"metric": "facts/bleu", "min": 0.5}, **_suites(golden=GOLDEN | {"metrics": ["bleu"]})),
            _gated({"metric": "facts/perplexity", "max": 9}, **_suites(perplexity=PROSE)),
            _gated({"metric": "facts/mmlu/acc", "min": 0.5}, **_suites(harness=TASKS)),
            _gated(
                {"metric": "b/perplexity", "max": 9},
                {"metric": "a/f1", "min": 0.5},
                suites=[{"name": "a", "golden": GOLDEN}, {"name": "b", "perplexity": PROSE}],
            ),
        ),
        refused=(
            # That the suite gives it is for the operator to see.
            _gated({"metric": "facts/f1", "min": 0.5}, {"metric": "fact/f1", "min": 0.5}),
            _gated({"metric": "prose/perplexity", "max": 9}),
            _gated({"metric": "facts-2/f1", "min": 0.5}),
        ),
    ),
    Examples(
        "EvalJob",
        "spec",
        "minImprovement and maxRegression need a baseline; set spec.baseline",
        "spec.gates",
        taken=(
            _gated({"metric": "facts/f1", "minImprovement": 0.1}, baseline=BY_JOB),
            _gated({"metric": "facts/f1", "min": 0.1}),
        ),
        refused=(
            _gated({"metric": "facts/f1", "minImprovement": 0.1}),
            _gated({"metric": "facts/f1", "maxRegression": 0.1}),
            _gated({"metric": "facts/exactMatch", "min": 0.1}, {"metric": "facts/f1", "min": 0, "minImprovement": 0}),
        ),
    ),
    Examples(
        "ModelServe",
        "spec.model",
        ONE_MODEL,
        "spec.model",
        taken=({"model": BY_JOB}, {"model": BY_URI}),
        refused=({"model": {}}, {"model": BY_JOB | BY_URI}),
    ),
    Examples(
        "ModelServe",
        "spec.traffic.sticky",
        "sticky.header names the header for by: header; set both, or drop header",
        "spec.traffic.sticky",
        taken=(
            _sticky(by="user"),
            _sticky(by="key"),
            _sticky(by="header", header="x-team"),
        ),
        refused=(_sticky(by="header"), _sticky(by="user", header="x-team")),
    ),
    Examples(
        "ModelServe",
        "spec.retrieval.chunks",
        OVERLAP_TOO_LONG,
        "spec.retrieval.chunks",
        taken=(_cut(size=200, overlap=199), _cut(size=151), _cut(overlap=1199), _cut()),
        refused=(_cut(size=200, overlap=200), _cut(size=150), _cut(overlap=1200)),
    ),
    Examples(
        "ModelServe",
        "spec.engine",
        ARGS_OF_VLLM,
        "spec.engine",
        taken=(
            {"engine": {"type": "vllm", "args": {"maxNumSeqs": 8}, "extraArgs": {"max-log-len": "9"}}},
            {"engine": {"type": "transformers", "extraArgs": {}}},
            {"engine": {"type": "vllm"}},
        ),
        refused=(
            {"engine": {"args": {}}},
            {"engine": {"type": "transformers", "extraArgs": {"max-log-len": "9"}}},
            {"engine": {"type": "custom", "custom": {"image": "a"}, "args": {}}},
        ),
    ),
    Examples(
        "ModelServe",
        "spec.engine",
        CUSTOM_OF_CUSTOM,
        "spec.engine",
        taken=({"engine": {"type": "custom", "custom": {"image": "a"}}},),
        refused=({"engine": {"custom": {"image": "a"}}}, {"engine": {"type": "vllm", "custom": {"image": "a"}}}),
    ),
    Examples(
        "ModelServe",
        "spec.engine",
        CUSTOM_NEEDED,
        "spec.engine",
        taken=({"engine": {"type": "custom", "custom": {"image": "a"}}}, {"engine": {}}),
        refused=({"engine": {"type": "custom"}},),
    ),
    Examples(
        "ModelServe",
        "spec.adapters[]",
        "set exactly one of fineTuneJob and uri",
        "spec.adapters[0]",
        taken=(_adapters({"uri": "pvc://a/b"}, {"fineTuneJob": "a"}),),
        refused=(_adapters({}), _adapters({"uri": "pvc://a/b", "fineTuneJob": "a"})),
    ),
    Examples(
        "ModelServe",
        "spec.traffic",
        ROUTE_OF_GATEWAY_API,
        "spec.traffic.route",
        taken=({"traffic": {"provider": "gatewayAPI", "route": {"parentRefs": [{"name": "a"}]}}}, {"traffic": {}}),
        refused=(
            {"traffic": {"provider": "gatewayAPI"}},
            {"traffic": {"route": {"parentRefs": [{"name": "a"}]}}},
            {"traffic": {"provider": "gateway", "route": {"parentRefs": [{"name": "a"}]}}},
        ),
    ),
    Examples(
        "ModelServe",
        "spec.rollout",
        STEPS_OF_CANARY,
        "spec.rollout.steps",
        taken=(
            {"rollout": CANARY},
            {"rollout": {"strategy": "blueGreen"}},
            {"rollout": {}},
            {"rollout": {"steps": []}},
        ),
        refused=(
            {"rollout": {"strategy": "canary"}},
            {"rollout": {"strategy": "canary", "steps": []}},
            {"rollout": {"steps": CANARY["steps"]}},
            {"rollout": {"strategy": "rolling", "steps": CANARY["steps"]}},
        ),
    ),
    Examples(
        "ModelServe",
        "spec.rollout",
        NO_ANALYSIS_OF_RECREATE,
        "spec.rollout.analysis",
        taken=({"rollout": {"strategy": "recreate"}},),
        refused=({**GATEWAY, "rollout": {"strategy": "recreate", "analysis": {"maxErrorRate": 0.1}}},),
    ),
    Examples(
        "ModelServe",
        "spec.rollout.analysis",
        BOUND_NEEDED,
        "spec.rollout.analysis",
        taken=(_analysed(maxErrorRate=0), _analysed(maxLatencyP99Seconds=1), _analysed(maxLatencyRatio=1.5)),
        refused=(_analysed(), _analysed(minRequests=5)),
    ),
    Examples(
        "ModelServe",
        "spec.scaling",
        BOUNDS_CROSSED,
        "spec.scaling.minReplicas",
        taken=(
            {**GATEWAY, "scaling": {"maxReplicas": 1}},
            {**GATEWAY, "scaling": {"minReplicas": 0, "maxReplicas": 2}},
        ),
        refused=({**GATEWAY, "scaling": {"minReplicas": 3, "maxReplicas": 2}},),
    ),
    Examples(
        "ModelServe",
        "spec",
        ANALYSIS_NEEDS_GATEWAY,
        "spec.rollout",
        taken=(_analysed(maxErrorRate=0),),
        refused=(
            {"rollout": {"analysis": {"maxErrorRate": 0}}},
            {"traffic": {"provider": "replicas"}, "rollout": {"analysis": {"maxErrorRate": 0}}},
        ),
    ),
    Examples(
        "ModelServe",
        "spec",
        SCALING_NEEDS_GATEWAY,
        "spec.scaling",
        taken=({**GATEWAY, "scaling": {"maxReplicas": 1}},),
        refused=({"scaling": {"maxReplicas": 1}},),
    ),
    Examples(
        "ModelServe",
        "spec",
        ONLY_THE_GATEWAY,
        "spec.traffic",
        taken=({**GATEWAY, "limits": {}}, {**GATEWAY, "prompt": {}}),
        refused=(
            {"limits": {}},
            {"prompt": {"system": "a"}},
            {"auth": {"apiKeysSecretRef": {"name": "a"}}},
            {"capture": {"uri": "pvc://a/b"}},
            {"retrieval": {"documents": [{"uri": "pvc://a/b"}]}},
            {"tools": {"http": [{"name": "a", "description": "a", "url": "http://a"}]}},
            {"traffic": {"sticky": {"by": "user"}}},
        ),
    ),
    Examples(
        "ModelServe",
        "spec.watch",
        WATCH_NEEDED,
        "spec.watch",
        taken=(GATEWAY | JUDGED, GATEWAY | REFERENCED),
        refused=(GATEWAY | {"watch": {}},),
    ),
    Examples(
        "ModelServe",
        "spec",
        WATCH_NEEDS_GATEWAY,
        "spec.watch",
        taken=(GATEWAY | JUDGED,),
        refused=(JUDGED, REFERENCED),
    ),
    Examples(
        "ModelServe",
        "spec",
        WATCH_NEEDS_REFERENCE,
        "spec.watch",
        taken=(GATEWAY | REFERENCED, GATEWAY | {"watch": {"drift": {}}, "capture": {"uri": "pvc://a/b"}}),
        refused=(GATEWAY | {"watch": {"drift": {}}},),
    ),
)
