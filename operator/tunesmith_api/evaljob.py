"""EvalJob: a model is measured, and judged by gates against a baseline."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tunesmith_api.base import (
    ApiModel,
    FolderUri,
    ModelUri,
    ResourceName,
    Resources,
    RunPolicy,
    StatusModel,
)
from tunesmith_api.finetunejob import JobStatus, PublishedModel, SecretRefs
from tunesmith_api.podtemplate import PodTemplate
from tunesmith_api.suites import MetricName, Suite, check_names

Verdict = Literal["Passed", "Failed", "Inconclusive"]


class ModelReference(ApiModel):
    """A model, by the job that publishes it or by URI."""

    fine_tune_job: ResourceName | None = Field(
        default=None, description="Name of a FineTuneJob of the same namespace; waited for."
    )
    uri: ModelUri | None = Field(default=None, description="URI of a model, as in FineTuneJob's spec.model.uri.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.fine_tune_job is None) == (self.uri is None):
            raise ValueError("set exactly one of fineTuneJob and uri")
        return self


class Gate(ApiModel):
    """What a metric must reach. Every bound that is set must hold."""

    metric: MetricName = Field(description="SUITE/METRIC.")
    min: float | None = Field(default=None, description="Smallest value that passes.")
    max: float | None = Field(default=None, description="Largest value that passes.")
    min_improvement: float | None = Field(
        default=None,
        description="Smallest improvement over the baseline that passes, in the metric's own unit; for a metric where "
        "lower is better the improvement is the decrease. 0 passes only a model that is better or equal.",
    )

    @model_validator(mode="after")
    def _has_bound(self) -> Self:
        if self.min is None and self.max is None and self.min_improvement is None:
            raise ValueError("set at least one of min, max and minImprovement")
        return self


class Report(ApiModel):
    """Where the report is written."""

    uri: FolderUri = Field(description="Folder for report.html, results.json and samples/*.jsonl.")


class EvalJobSpec(ApiModel):
    """The question to answer."""

    target: ModelReference = Field(description="Model to judge.")
    baseline: ModelReference | None = Field(default=None, description="Model to compare with.")
    suites: tuple[Suite, ...] = Field(
        min_length=1,
        max_length=32,
        description="What to measure.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    gates: tuple[Gate, ...] = Field(
        default=(),
        max_length=64,
        description="What must hold for the verdict Passed; without gates a completed evaluation passes.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]},
    )
    batch_size: int = Field(default=8, ge=1, le=4096, description="Samples that the model works on at once.")
    report: Report = Field(description="Where the report is written.")
    resources: Resources = Field(default=Resources(), description="What the evaluation pod asks for.")
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Where and how the pod runs.")
    secret_refs: SecretRefs = ()
    run_policy: RunPolicy = Field(default=RunPolicy(), description="Attempts.")

    @model_validator(mode="after")
    def _gates_fit_suites(self) -> Self:
        check_names(self.suites)
        known = [name for suite in self.suites for name in suite.metric_names()]
        gated: set[str] = set()
        for gate in self.gates:
            if gate.metric in gated:
                raise ValueError(f"gates has more than one gate on {gate.metric}; put its bounds into one")
            gated.add(gate.metric)
            if gate.metric not in known:
                raise ValueError(
                    "every gate must be on a metric that one of the suites gives; "
                    f"{gate.metric} is not among {', '.join(known)}"
                )
            if gate.min_improvement is not None and self.baseline is None:
                raise ValueError(
                    f"minImprovement needs a baseline; set spec.baseline, or drop it from the gate on {gate.metric}"
                )
        return self


class MetricResult(StatusModel):
    """One metric of the target, beside the baseline's."""

    metric: str = Field(max_length=100, description="SUITE/METRIC.")
    value: float = Field(description="The target's value.")
    baseline: float | None = Field(default=None, description="The baseline's value.")
    delta: float | None = Field(default=None, description="value - baseline.")
    n: int = Field(ge=0, description="Samples it is computed from.")
    stderr: float | None = Field(
        default=None, ge=0, description="Standard error of the value: how much it would vary on other samples."
    )
    ci95: tuple[float, ...] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="Lower and upper bound of the value's 95% interval: Wilson's for shares, else the bootstrap's.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    p_value: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="How often chance alone would make target and baseline differ as much on these samples: McNemar's "
        "exact test for shares, else approximate randomisation; over all metrics corrected by Holm's method.",
    )


class GateResult(StatusModel):
    """One gate's outcome."""

    metric: str = Field(max_length=100, description="SUITE/METRIC.")
    passed: bool = Field(description="Whether every bound holds.")
    message: str = Field(max_length=1024, description="What was asked, what was found and by how much it missed.")


class EvalJobStatus(JobStatus):
    """The observed evaluation."""

    verdict: Verdict | None = Field(default=None, description="Passed, Failed or Inconclusive.")
    target: PublishedModel | None = Field(default=None, description="The model that was judged.")
    baseline: PublishedModel | None = Field(default=None, description="The model it was compared with.")
    percent: int | None = Field(default=None, ge=0, le=100, description="Share of samples done.")
    results: tuple[MetricResult, ...] = Field(
        default=(),
        max_length=256,
        description="Metrics, those with a gate first.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]},
    )
    gates: tuple[GateResult, ...] = Field(
        default=(),
        max_length=64,
        description="Gates in the spec's order.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]},
    )
    report: str | None = Field(default=None, max_length=1200, description="URI of report.html.")
