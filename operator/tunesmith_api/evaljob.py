"""EvalJob: a model is measured, and judged by gates against a baseline."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import (
    ApiModel,
    FolderUri,
    ItemName,
    ModelUri,
    ResourceName,
    Resources,
    RunPolicy,
    StatusModel,
    StorageUri,
)
from tunesmith_api.data import TextFormat
from tunesmith_api.finetunejob import JobStatus, PublishedModel, SecretRefs
from tunesmith_api.metrics import PERPLEXITY_METRICS, GoldenMetric
from tunesmith_api.podtemplate import PodTemplate

Verdict = Literal["Passed", "Failed", "Inconclusive"]
MetricName = Annotated[
    str, StringConstraints(max_length=100, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[A-Za-z][A-Za-z0-9]*$")
]


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


class GoldenSuite(ApiModel):
    """Answers compared with reference answers."""

    uri: StorageUri = Field(description="JSON or JSONL file of questions with reference answers.")
    format: TextFormat = Field(
        default="promptCompletion",
        description="Shape of a record, as for training data; the completion is the reference. text has none and is "
        "refused.",
    )
    metrics: tuple[GoldenMetric, ...] = Field(
        default=("exactMatch", "f1"),
        min_length=1,
        max_length=16,
        description="What to compute.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    max_new_tokens: int = Field(default=64, ge=1, le=8192, description="Longest answer in tokens.")

    @model_validator(mode="after")
    def _has_references(self) -> Self:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics names a metric twice")
        if self.format == "text":
            raise ValueError("format text has no reference answers; use a format with a completion")
        return self


class PerplexitySuite(ApiModel):
    """How well the model predicts a text."""

    uri: StorageUri = Field(description="JSON or JSONL file of records.")
    format: TextFormat = Field(
        default="text", description="Shape of a record; with a format that has a completion, only it is scored."
    )
    max_length: int = Field(
        default=1024, ge=8, le=1_048_576, description="Tokens scored at once; a longer record is scored in windows."
    )


class Suite(ApiModel):
    """A named set of samples and the metrics on it."""

    name: ItemName = Field(description="Name; its metrics are called NAME/METRIC.")
    golden: GoldenSuite | None = Field(default=None, description="Answers compared with reference answers.")
    perplexity: PerplexitySuite | None = Field(default=None, description="How well the model predicts a text.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.golden is None) == (self.perplexity is None):
            raise ValueError("set exactly one of golden and perplexity")
        return self

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that this suite gives, as SUITE/METRIC."""
        names = self.golden.metrics if self.golden else PERPLEXITY_METRICS
        return tuple(f"{self.name}/{name}" for name in names)


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
        suites = [suite.name for suite in self.suites]
        twice = sorted({name for name in suites if suites.count(name) > 1})
        if twice:
            raise ValueError(f"suites has more than one suite named {', '.join(twice)}")
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
