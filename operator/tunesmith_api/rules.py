"""CEL rules: what a schema alone cannot say. Each stands beside the model whose validator says the same offline."""

from dataclasses import dataclass

from tunesmith_api import modelserve
from tunesmith_api.base import Kind
from tunesmith_api.immutability import IMMUTABLE_ONCE_STARTED
from tunesmith_api.serving import engine, retrieval, rollout, scaling, traffic, watch
from tunesmith_api.serving.sticky import HEADER_NEEDED
from tunesmith_api.suites import EvalSuite, Suite
from tunesmith_api.tuning import ONE_DOMAIN


@dataclass(frozen=True)
class Rule:
    """A CEL expression over the object at `path` (dotted; [] is each item of a list; empty is the whole resource).

    `field` is the field below `path` that the API server names beside the message; empty is the object itself.
    """

    path: str
    rule: str
    message: str
    field: str = ""


def _exactly_one(path: str, *names: str) -> Rule:
    given = ", ".join(f"has(self.{name})" for name in names)
    rule = f"[{given}].filter(given, given).size() == 1"
    return Rule(path, rule, f"set exactly one of {', '.join(names[:-1])} and {names[-1]}")


def _target(path: str) -> tuple[Rule, ...]:
    return (
        _exactly_one(path, "fineTuneJob", "uri", "modelServe", "endpoint"),
        Rule(
            path,
            "!has(self.checkpoint) || has(self.fineTuneJob)",
            "checkpoint is one of a FineTuneJob's; set fineTuneJob, or drop checkpoint",
        ),
        Rule(
            path,
            "!has(self.adapter) || has(self.uri)",
            "adapter goes on the model of uri; set uri, or drop adapter",
        ),
    )


def _one_kind(path: str, suite: type[Suite]) -> Rule:
    return _exactly_one(path, *(str(field.alias) for name, field in suite.model_fields.items() if name != "name"))


def _with_references(path: str) -> Rule:
    return Rule(path, "self.format != 'text'", "format text has no reference answers; use a format with a completion")


def _immutable(kind: Kind) -> tuple[Rule, ...]:
    # What is suspended and has no attempt was so from the start.
    started = (
        "has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase != 'Pending' && "
        "(oldSelf.status.phase != 'Suspended' || (has(oldSelf.status.attempts) && oldSelf.status.attempts.size() > 0))"
    )
    if kind == "EvalJob":  # the next run is by what the spec says then
        started = f"!has(oldSelf.spec.schedule) && {started}"
    return tuple(
        Rule(
            "",
            f"!({started}) || (has(self.spec.{name}) == has(oldSelf.spec.{name}) && "
            f"(!has(self.spec.{name}) || self.spec.{name} == oldSelf.spec.{name}))",
            f"spec.{name} cannot change once the {kind} has started; delete it and create it again",
            f"spec.{name}",
        )
        for name in IMMUTABLE_ONCE_STARTED[kind]
    )


_GATEWAY = "(has(self.traffic) && has(self.traffic.provider) && self.traffic.provider == 'gateway')"


RULES: dict[Kind, tuple[Rule, ...]] = {
    "FineTuneJob": (
        _exactly_one("spec.data.validation", "fraction", "dataset"),
        _one_kind("spec.evaluation.suites[]", Suite),
        _with_references("spec.evaluation.suites[].golden"),
        Rule(
            "spec.tuning.parameters[]",
            "[has(self.uniform), has(self.logUniform), has(self.intUniform), has(self.choice)]"
            ".filter(given, given).size() == 1",
            ONE_DOMAIN,
        ),
        Rule("spec.tuning.parameters[].uniform", "self.min < self.max", "min must be less than max"),
        Rule("spec.tuning.parameters[].logUniform", "self.min < self.max", "min must be less than max"),
        Rule("spec.tuning.parameters[].intUniform", "self.min < self.max", "min must be less than max"),
        *_immutable("FineTuneJob"),
    ),
    "EvalJob": (
        *_target("spec.target"),
        *_target("spec.baseline"),
        _one_kind("spec.suites[]", EvalSuite),
        _with_references("spec.suites[].golden"),
        Rule(
            "spec.gates[]",
            "has(self.min) || has(self.max) || has(self.minImprovement) || has(self.maxRegression)",
            "set at least one of min, max, minImprovement and maxRegression",
        ),
        Rule(
            "spec",
            "!has(self.gates) || self.gates.all(g, self.suites.exists(s, g.metric.startsWith(s.name + '/')))",
            "every gate must be on a metric that one of the suites gives",
            "gates",
        ),
        Rule(
            "spec",
            "has(self.baseline) || !has(self.gates) || "
            "self.gates.all(g, !has(g.minImprovement) && !has(g.maxRegression))",
            "minImprovement and maxRegression need a baseline; set spec.baseline",
            "gates",
        ),
        Rule("spec.limits", "has(self.maxRequests) || has(self.maxTokens)", "set maxRequests, maxTokens or both"),
        Rule(
            "spec",
            "!has(self.schedule) || !has(self.target.checkpoint) || self.target.checkpoint != 'each'",
            "schedule and checkpoint: each both say when to evaluate; drop one of them",
            "schedule",
        ),
        Rule(
            "spec",
            "!has(self.baseline) || !has(self.baseline.checkpoint) || self.baseline.checkpoint != 'each'",
            "baseline.checkpoint: each is for the target; name best, last or a step",
            "baseline",
        ),
        *_immutable("EvalJob"),
    ),
    "ModelServe": (
        _exactly_one("spec.model", "fineTuneJob", "uri"),
        _exactly_one("spec.adapters[]", "fineTuneJob", "uri"),
        Rule(
            "spec.rollout",
            "(has(self.strategy) && self.strategy == 'canary') == (has(self.steps) && self.steps.size() > 0)",
            rollout.STEPS_OF_CANARY,
            "steps",
        ),
        Rule(
            "spec.rollout",
            "!has(self.analysis) || !has(self.strategy) || self.strategy != 'recreate'",
            rollout.NO_ANALYSIS_OF_RECREATE,
            "analysis",
        ),
        Rule(
            "spec.rollout.analysis",
            "has(self.maxErrorRate) || has(self.maxLatencyP99Seconds) || has(self.maxLatencyRatio)",
            rollout.BOUND_NEEDED,
        ),
        Rule("spec.scaling", "self.minReplicas <= self.maxReplicas", scaling.BOUNDS_CROSSED, "minReplicas"),
        Rule(
            "spec",
            f"{_GATEWAY} || !has(self.rollout) || !has(self.rollout.analysis)",
            modelserve.ANALYSIS_NEEDS_GATEWAY,
            "rollout",
        ),
        Rule("spec", f"{_GATEWAY} || !has(self.scaling)", modelserve.SCALING_NEEDS_GATEWAY, "scaling"),
        Rule(
            "spec",
            f"{_GATEWAY} || (!has(self.auth) && !has(self.limits) && !has(self.capture) && !has(self.prompt) && "
            "!has(self.retrieval) && !has(self.tools) && (!has(self.traffic) || !has(self.traffic.sticky)))",
            modelserve.ONLY_THE_GATEWAY,
            "traffic",
        ),
        Rule(
            "spec.traffic",
            "(has(self.provider) && self.provider == 'gatewayAPI') == has(self.route)",
            traffic.ROUTE_OF_GATEWAY_API,
            "route",
        ),
        Rule("spec.retrieval.chunks", "self.overlap < self.size", retrieval.OVERLAP_TOO_LONG),
        Rule("spec.watch", "has(self.drift) || has(self.watcher)", watch.WATCH_NEEDED),
        Rule("spec", f"{_GATEWAY} || !has(self.watch)", modelserve.WATCH_NEEDS_GATEWAY, "watch"),
        Rule(
            "spec",
            "!has(self.watch) || !has(self.watch.drift) || has(self.watch.drift.reference) || has(self.capture)",
            modelserve.WATCH_NEEDS_REFERENCE,
            "watch",
        ),
        Rule("spec.traffic.sticky", "(self.by == 'header') == has(self.header)", HEADER_NEEDED),
        Rule(
            "spec.engine",
            "self.type == 'vllm' || (!has(self.args) && (!has(self.extraArgs) || self.extraArgs.size() == 0))",
            engine.ARGS_OF_VLLM,
        ),
        Rule("spec.engine", "self.type == 'custom' || !has(self.custom)", engine.CUSTOM_OF_CUSTOM),
        Rule("spec.engine", "self.type != 'custom' || has(self.custom)", engine.CUSTOM_NEEDED),
    ),
}
