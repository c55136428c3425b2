"""How a new revision of a ModelServe takes over from the one before."""

import json
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from tunesmith_api.base import ApiModel
from tunesmith_api.evaljob import EvalJobSpec
from tunesmith_api.podtemplate import KubernetesObject

Strategy = Literal["rolling", "canary", "blueGreen", "recreate"]

STEPS_OF_CANARY = "steps are of a canary, and a canary has steps; set both strategy: canary and steps, or neither"
NO_ANALYSIS_OF_RECREATE = "recreate has no two revisions to send requests to; drop analysis, or choose a canary"
BOUND_NEEDED = "set at least one of maxErrorRate, maxLatencyP99Seconds and maxLatencyRatio"

_NOT_IN_TEMPLATES = ("target", "schedule", "historyLimit")
_SOMEWHERE = {"endpoint": {"url": "http://revision.invalid/v1", "model": "revision"}}


class EvalJobTemplate(ApiModel):
    """An EvalJob that is created for a revision."""

    spec: KubernetesObject = Field(
        description="The spec of an EvalJob without target, schedule and historyLimit. The target is the new "
        "revision's own endpoint; the baseline, unless there is one, that of the revision that serves. report.uri is "
        "the folder that the reports of all revisions go to, each in a folder of its own."
    )

    @model_validator(mode="after")
    def _is_an_evaluation(self) -> Self:
        if named := [name for name in _NOT_IN_TEMPLATES if name in self.spec]:
            raise ValueError(f"an EvalJob of a rollout has no {', '.join(named)}: the target is the new revision")
        try:
            self.evaluation(target=_SOMEWHERE, baseline=_SOMEWHERE)
        except ValidationError as error:
            from tunesmith_api.errors import explain  # it knows all kinds, and so this one

            raise ValueError("; ".join(explain(error))) from error
        return self

    def evaluation(self, target: dict[str, Any], baseline: dict[str, Any] | None) -> EvalJobSpec:
        """Return the spec of the EvalJob of a target, with that baseline unless the template has its own.

        Without any baseline, gates ask for no comparison. Raises pydantic.ValidationError.
        """
        spec = {**self.spec, "target": target}
        if baseline is not None:
            spec.setdefault("baseline", baseline)
        elif "baseline" not in spec:
            spec["gates"] = [each for each in map(_without_comparison, spec.get("gates") or ()) if each]
        return EvalJobSpec.model_validate_json(json.dumps(spec), by_alias=True, by_name=False)


def _without_comparison(gate: dict[str, Any]) -> dict[str, Any] | None:
    bare = {name: value for name, value in gate.items() if name not in {"minImprovement", "maxRegression"}}
    return bare if bare.keys() & {"min", "max"} else None


class CanaryStep(ApiModel):
    """A share of the requests, and what must hold before the next step."""

    weight: int = Field(ge=0, le=100, description="Percent of the requests that the new revision gets.")
    pause_seconds: int = Field(
        default=0, ge=0, le=604_800, description="How long the step lasts at least, once the weight is reached."
    )
    approval: bool = Field(default=False, description="Wait until `tunesmith promote` says that it may go on.")
    eval_job_template: EvalJobTemplate | None = Field(
        default=None, description="Evaluation that the new revision must pass at this step, beside its requests."
    )


class Analysis(ApiModel):
    """What the gateway must see of the new revision. What it sees is of the last minute."""

    max_error_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest share of its requests that may fail (no answer, or one of status 500 and more).",
    )
    max_latency_p99_seconds: float | None = Field(
        default=None, ge=0, description="Largest 99th percentile of the seconds that its answers take."
    )
    max_latency_ratio: float | None = Field(
        default=None, ge=0, description="Largest ratio of its median seconds to those of the revision that serves."
    )
    min_requests: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Requests that a step waits for before anything is judged by them, unless its weight is 0.",
    )

    @model_validator(mode="after")
    def _has_bound(self) -> Self:
        if self.max_error_rate is None and self.max_latency_p99_seconds is None and self.max_latency_ratio is None:
            raise ValueError(BOUND_NEEDED)
        return self


class Rollout(ApiModel):
    """How a new revision takes over. One that fails is taken back at once, and is not tried again until it changes."""

    strategy: Strategy = Field(
        default="rolling",
        description="rolling: pod by pod. canary: by the weights of `steps`. blueGreen: all pods of the new revision "
        "start beside the old ones, then all requests move at once. recreate: the old pods stop before the new ones "
        "start, for when there is room for one revision only; nothing answers in between.",
    )
    steps: tuple[CanaryStep, ...] = Field(
        default=(),
        max_length=20,
        description="Of a canary: its steps in order. After the last one the revision takes over.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    eval_job_template: EvalJobTemplate | None = Field(
        default=None, description="Evaluation that a revision must pass before it gets any request, also the first one."
    )
    analysis: Analysis | None = Field(
        default=None, description="What must hold as long as the new revision gets some of the requests."
    )
    max_inconclusive: int = Field(
        default=0, ge=0, le=10, description="How often an evaluation without a verdict is repeated before it fails."
    )
    progress_deadline_seconds: int = Field(
        default=1800,
        ge=1,
        le=604_800,
        description="How long a revision may take until it answers; then it is taken back.",
    )
    scale_down_delay_seconds: int = Field(
        default=30,
        ge=0,
        le=86_400,
        description="blueGreen: how long the old pods stay after all requests have moved, so that a way back is quick.",
    )

    @model_validator(mode="after")
    def _steps_of_canary(self) -> Self:
        if (self.strategy == "canary") != bool(self.steps):
            raise ValueError(STEPS_OF_CANARY)
        weights = [step.weight for step in self.steps]
        if weights != sorted(weights):
            raise ValueError(f"the weights of steps must not fall: {', '.join(map(str, weights))}")
        if self.strategy == "recreate" and self.analysis:
            raise ValueError(NO_ANALYSIS_OF_RECREATE)
        return self
