"""EvalJob: a model is measured, and judged by gates against a baseline."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from tunesmith_api.base import (
    GROUP,
    ApiModel,
    FolderUri,
    Resources,
    RunPolicy,
    StatusModel,
    Time,
)
from tunesmith_api.endpoint import KeyedEndpoint
from tunesmith_api.evaluation_fit import misfits
from tunesmith_api.finetunejob import AttemptRecord, JobStatus, MetricValues, PublishedModel, SecretRefs
from tunesmith_api.podtemplate import PodTemplate
from tunesmith_api.spending import Limits, Spent
from tunesmith_api.suites import EvalSuite, MetricName
from tunesmith_api.targets import EACH, EvalTarget

Verdict = Literal["Passed", "Failed", "Inconclusive"]
# On a run of an EvalJob that repeats: that one's name.
RUN_OF_LABEL = f"{GROUP}/run-of"
CronSchedule = Annotated[
    str,
    StringConstraints(
        max_length=100,
        pattern=r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|"
        r"[0-9*,/A-Za-z#?-]+( +[0-9*,/A-Za-z#?-]+){4})$",
    ),
]

# Metrics that the status has room for.
MOST_RESULTS = 256


class Gate(ApiModel):
    """What a metric must reach. Every bound that is set must hold."""

    metric: MetricName = Field(description="SUITE/METRIC, or SUITE/PART/METRIC of a part of the suite.")
    min: float | None = Field(default=None, description="Smallest value that passes.")
    max: float | None = Field(default=None, description="Largest value that passes.")
    min_improvement: float | None = Field(
        default=None,
        description="Smallest improvement over the baseline that passes, in the metric's own unit; for a metric where "
        "lower is better the improvement is the decrease. 0 passes only a model that is better or equal. One above 0 "
        "must be significant as well: when chance would do as much (see alpha), the gate is inconclusive.",
    )
    max_regression: float | None = Field(
        default=None,
        ge=0,
        description="Largest loss against the baseline that passes, in the metric's own unit. A larger one fails when "
        "it is significant, and is inconclusive when chance would do as much (see alpha).",
    )
    alpha: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Largest p-value, corrected for the number of metrics, at which a difference from the baseline "
        "counts as significant. 1 asks for no significance.",
    )

    @property
    def compares(self) -> bool:
        """Whether it needs a baseline."""
        return self.min_improvement is not None or self.max_regression is not None

    @model_validator(mode="after")
    def _has_bound(self) -> Self:
        if self.min is None and self.max is None and not self.compares:
            raise ValueError("set at least one of min, max, minImprovement and maxRegression")
        return self


class Subject(PublishedModel):
    """A model, or an endpoint and the model behind it as far as it is known."""

    uri: str = Field(max_length=1200, description="The model's folder; of an unknown model the endpoint's URL.")
    base: str | None = Field(default=None, max_length=1200, description="Of an adapter: its base model's folder.")
    endpoint: KeyedEndpoint | None = Field(default=None, description="The endpoint that was asked.")


class Report(ApiModel):
    """Where the report is written."""

    uri: FolderUri = Field(description="Folder for report.html, results.json and samples/*.jsonl.")


class EvalJobSpec(ApiModel):
    """The question to answer."""

    target: EvalTarget = Field(description="Model or endpoint to judge.")
    baseline: EvalTarget | None = Field(default=None, description="Model or endpoint to compare with.")
    suites: tuple[EvalSuite, ...] = Field(
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
    schedule: CronSchedule | None = Field(
        default=None,
        description="When to evaluate again and again, as a cron expression of five fields in UTC, such as "
        "'0 3 * * *', or @daily and the like. Each run is an EvalJob of its own, NAME-r1 and so on, and its report is "
        "in a folder of that name inside report.uri. A run that is due while the one before it is under way is left "
        "out.",
    )
    history_limit: int = Field(
        default=10,
        ge=1,
        le=50,
        description="With schedule, or with checkpoint: each: how many runs are kept as EvalJobs. What the last 50 "
        "have measured stays in status.runs, and all reports where they are.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Samples that a model works on at once. Default: as many as make up a fair number of tokens. "
        "It is halved for as long as the GPU's memory does not suffice.",
    )
    parallelism: int = Field(
        default=1,
        ge=1,
        le=32,
        description="How many suites are measured at the same time, each on a pod of its own. 1: one after another on "
        "one pod, but for those with runsCode. A last pod measures suites that ask people or put an endpoint under "
        "load, with limits also those that ask an endpoint, and writes the report.",
    )
    limits: Limits | None = Field(
        default=None,
        description="The most that is asked of endpoints. A suite that would go beyond it is not measured, and the "
        "verdict is Inconclusive, if not Failed.",
    )
    report: Report = Field(description="Where the report is written.")
    resources: Resources = Field(default=Resources(), description="What each evaluation pod asks for.")
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Where and how the pod runs.")
    secret_refs: SecretRefs = ()
    run_policy: RunPolicy = Field(default=RunPolicy(), description="Attempts.")

    @property
    def repeats(self) -> bool:
        """Whether it is evaluated in several runs."""
        return self.schedule is not None or self.target.checkpoint == EACH

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if sentences := list(misfits(self)):
            found = {"text": "; ".join(sentences), "sentences": [("", each) for each in sentences]}
            raise PydanticCustomError("combination", "{text}", found)
        return self


class EvaluationRun(StatusModel):
    """One run of an EvalJob that repeats."""

    number: int = Field(ge=1, description="Counts the runs.")
    name: str | None = Field(
        default=None, max_length=63, description="Its EvalJob, unless historyLimit has done away with it."
    )
    started_at: Time = Field(description="When it was created.")
    ended_at: Time | None = Field(default=None, description="When its end was seen.")
    checkpoint: int | None = Field(default=None, ge=0, description="Step of the checkpoint that it evaluates.")
    verdict: Verdict | None = Field(default=None, description="Its verdict.")
    message: str | None = Field(default=None, max_length=1024, description="Why it has none.")
    metrics: MetricValues = Field(default=(), description="What it has measured, metrics with a gate first.")
    report: str | None = Field(default=None, max_length=1200, description="URI of its report.html.")


class MetricResult(StatusModel):
    """One metric of the target, beside the baseline's."""

    metric: str = Field(max_length=160, description="SUITE/METRIC.")
    value: float = Field(description="The target's value.")
    baseline: float | None = Field(default=None, description="The baseline's value.")
    delta: float | None = Field(default=None, description="value - baseline.")
    higher_is_better: bool | None = Field(
        default=None, description="Direction of a metric that is not in the reference's list."
    )
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
        "exact test for shares, Mood's for percentiles, else approximate randomisation; over all metrics "
        "corrected by Holm's method.",
    )


class GateResult(StatusModel):
    """One gate's outcome."""

    metric: str = Field(max_length=160, description="SUITE/METRIC.")
    passed: bool = Field(description="Whether every bound holds.")
    message: str = Field(max_length=1024, description="What was asked, what was found and by how much it missed.")


class EvaluationPart(StatusModel):
    """A suite that is measured by a workload of its own."""

    suite: str = Field(max_length=63, description="Its name.")
    attempts: tuple[AttemptRecord, ...] = Field(
        default=(),
        max_length=20,
        description="The last attempts to measure it, oldest first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class EvalJobStatus(JobStatus):
    """The observed evaluation."""

    verdict: Verdict | None = Field(default=None, description="Passed, Failed or Inconclusive.")
    target: Subject | None = Field(default=None, description="What was judged.")
    baseline: Subject | None = Field(default=None, description="What it was compared with.")
    percent: int | None = Field(default=None, ge=0, le=100, description="Share of samples done.")
    parts: tuple[EvaluationPart, ...] = Field(
        default=(),
        max_length=32,
        description="Suites that are measured by workloads of their own, before the attempt that writes the report.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["suite"]},
    )
    spent: Spent | None = Field(default=None, description="What was asked of endpoints.")
    rating_url: str | None = Field(
        default=None,
        max_length=1200,
        description="While a suite waits for people: the page on which they vote. Whoever has it may vote.",
    )
    results: tuple[MetricResult, ...] = Field(
        default=(),
        max_length=MOST_RESULTS,
        description="Metrics, those with a gate first. All of them are in results.json.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]},
    )
    problems: tuple[Annotated[str, StringConstraints(max_length=1024)], ...] = Field(
        default=(),
        max_length=32,
        description="What could not be measured, and why. With any of them the verdict is Inconclusive, if not Failed.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    gates: tuple[GateResult, ...] = Field(
        default=(),
        max_length=64,
        description="Gates in the spec's order.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]},
    )
    report: str | None = Field(default=None, max_length=1200, description="URI of report.html.")
    runs: tuple[EvaluationRun, ...] = Field(
        default=(),
        max_length=50,
        description="Of an EvalJob that repeats: its last runs, oldest first. The other fields are those of the last "
        "one that has ended.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number"]},
    )
    next_run_at: Time | None = Field(default=None, description="With schedule: when the next run is due.")
