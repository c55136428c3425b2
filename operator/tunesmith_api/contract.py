"""The run contract: all that the operator and the runtime share.

The operator writes a `RunConfig` as JSON and names its file in $TUNESMITH_CONFIG. The runtime answers with a
`ProgressDocument`: locally the JSON file named in $TUNESMITH_PROGRESS. Both carry a version, so that an operator can
read what a runtime of the version before it writes.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tunesmith_api.base import ApiModel, FolderUri, Kind, ModelUri, StatusModel, StorageUri
from tunesmith_api.data import TrainingData
from tunesmith_api.deepspeed import DeepSpeed
from tunesmith_api.evaljob import EvaluationRun, Gate, MetricResult, Report, Subject
from tunesmith_api.evaluation import Evaluation
from tunesmith_api.finetunejob import CheckpointRecord, DataSummary, Output, PublishedModel, TrainingProgress
from tunesmith_api.finetunejob import Recovery as Recovery
from tunesmith_api.finetunejob import SkippedCheckpoint as SkippedCheckpoint
from tunesmith_api.spending import Limits, Spent
from tunesmith_api.suites import EvalSuite
from tunesmith_api.traffic import GatewayReport
from tunesmith_api.training import Method, Task, Training
from tunesmith_api.tuning import Tuning, TuningStatus

CONFIG_VARIABLE = "TUNESMITH_CONFIG"
PROGRESS_VARIABLE = "TUNESMITH_PROGRESS"
VOLUMES_VARIABLE = "TUNESMITH_VOLUMES"
# The address that a server binds to: 127.0.0.1 unless set; a pod's backend sets 0.0.0.0.
HOST_VARIABLE = "TUNESMITH_HOST"
# The port of the page on which people compare answers, and, where it is behind a Service, that one's URL. Without that
# the page is on a free port of the machine.
RATING_PORT = 8080
RATING_URL_VARIABLE = "TUNESMITH_RATING_URL"
# A file that a server makes once it has answered a completion, for a pod's readiness probe.
READY_VARIABLE = "TUNESMITH_READY"
# Of a server that loads and unloads adapters while it runs: the file with its `AdapterSet`, read again when it changes.
ADAPTERS_VARIABLE = "TUNESMITH_ADAPTERS"
ADAPTERS_KEY = "adapters.json"
# A folder that keeps models of hf:// and s3://, for all pods that have it: downloaded once, and checked.
MODEL_CACHE_VARIABLE = "TUNESMITH_MODEL_CACHE"
# A folder in which fetching leaves links for servers that are not ours: `model`, and `adapters/NAME` for each adapter.
MODEL_LINKS_VARIABLE = "TUNESMITH_MODEL_LINKS"
# A file that a failing run leaves its last sentence in; a pod's backend names the container's termination log.
TERMINATION_LOG_VARIABLE = "TUNESMITH_TERMINATION_LOG"

# In a cluster: the ConfigMap of the run's namespace that the progress document is also kept in, under PROGRESS_KEY.
PROGRESS_CONFIG_MAP_VARIABLE = "TUNESMITH_PROGRESS_CONFIG_MAP"
PROGRESS_KEY = "progress.json"
# Of a run with several workers: HOST:PORT of Ray's head, which the worker pods join and the head pod listens on.
RAY_ADDRESS_VARIABLE = "TUNESMITH_RAY_ADDRESS"
# Set, to anything, where somebody else has started Ray in the pods, as KubeRay does: the driver joins the cluster that
# its pod is the head of.
RAY_JOIN_VARIABLE = "TUNESMITH_RAY_JOIN"
# How long the driver waits for all workers, in seconds; then it says which are missing.
WORKERS_TIMEOUT_VARIABLE = "TUNESMITH_WORKERS_TIMEOUT"
# How long an elastic run waits for missing workers, in seconds, before it goes on without them; and how long further
# ones must have been there before it takes them in.
ELASTIC_SECONDS_VARIABLE = "TUNESMITH_ELASTIC_SECONDS"
# Worker pods are named by this prefix and their number: support-bot-a1-workers-0.
WORKERS_PREFIX_VARIABLE = "TUNESMITH_WORKERS_PREFIX"
# Set to 1 by the cluster's admin: evaluation tasks from URIs and specs may bring Python code, in a sandbox.
ALLOW_CODE_VARIABLE = "TUNESMITH_ALLOW_CODE"

# Of a gateway: the file with its routes, which it reads again when it changes; and in a cluster the ConfigMap of its
# namespace that has them under ROUTES_KEY, which it watches: a mounted file would follow a minute later.
ROUTES_VARIABLE = "TUNESMITH_ROUTES"
ROUTES_CONFIG_MAP_VARIABLE = "TUNESMITH_ROUTES_CONFIG_MAP"
ROUTES_KEY = "routes.json"
# The key of the progress ConfigMap that a process writes, where several share it: PROGRESS_KEY unless set.
PROGRESS_KEY_VARIABLE = "TUNESMITH_PROGRESS_KEY"
# Of a gateway whose routes want API keys: the folder that their Secret is mounted in, which has a file keys.yaml.
API_KEYS_VARIABLE = "TUNESMITH_API_KEYS"

CONTRACT_VERSION: Literal[1] = 1
_GRACE_SECONDS = 10.0


class RunIdentity(ApiModel):
    """Which resource a run works for."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    attempt: int = Field(ge=1)


class RunCheckpoints(ApiModel):
    """Where a training run keeps what it can go on from."""

    uri: StorageUri
    every_steps: int
    keep: int


class RunLimits(ApiModel):
    """What a training attempt may take and bear. All defaults are those of contract version 1 before there were any."""

    # How often the workers start again within the attempt after some were lost.
    max_failures: int = 3
    # Without a step for so long the attempt counts as hung; None: it may take all time.
    progress_timeout_seconds: int | None = None
    # After so many seconds of this attempt training ends, and what it has learnt is published as partial.
    seconds: float | None = None
    # From SIGTERM to SIGKILL: the time in which a checkpoint is taken.
    grace_seconds: float = 30.0


class TrainRun(ApiModel):
    """A training attempt; references are resolved."""

    version: Literal[1] = CONTRACT_VERSION
    type: Literal["train"] = "train"
    run: RunIdentity
    model: ModelUri
    task: Task | None = None
    data: TrainingData
    method: Method
    training: Training
    checkpoints: RunCheckpoints
    evaluation: Evaluation | None = None
    tuning: Tuning | None = None
    output: Output
    deepspeed: DeepSpeed | None = None
    workers: int = 1
    # With fewer than `workers`, and at least so many, an elastic run goes on; None: all of them.
    min_workers: int | None = None
    gpus: int = 0
    limits: RunLimits = RunLimits()


class EvaluateRun(ApiModel):
    """An evaluation attempt; references are resolved."""

    version: Literal[1] = CONTRACT_VERSION
    type: Literal["evaluate"] = "evaluate"
    run: RunIdentity
    target: Subject
    baseline: Subject | None = None
    suites: tuple[EvalSuite, ...]
    gates: tuple[Gate, ...] = ()
    batch_size: int | None = None
    report: Report
    # Folder of what models have answered; None: beside the report.
    answers: FolderUri | None = None
    # Earlier runs of the EvalJob that this one is a run of, oldest first.
    earlier: tuple[EvaluationRun, ...] = ()
    # The most that is asked of endpoints.
    limits: Limits | None = None
    # Set for a part of an evaluation: the folder that its suites' results are written to, in place of a report.
    part: FolderUri | None = None
    # Set for the attempt that joins parts: where the results of suites lie, by the suites' names.
    parts: dict[str, FolderUri] = Field(default_factory=dict)

    @property
    def asks_people(self) -> bool:
        """Whether it serves a page on which people vote."""
        return any(suite.human for suite in self.suites)

    @property
    def sandboxed(self) -> bool:
        """Whether it runs code that tasks bring, without a network."""
        return self.part is not None and any(suite.runs_code for suite in self.suites)


class ServedAdapter(ApiModel):
    """An adapter on the model that is served, under the name that clients use."""

    name: str
    uri: ModelUri


class AdapterSet(ApiModel):
    """The adapters that a running server should have. It takes up a new set without a restart."""

    version: Literal[1] = 1
    # Stands for what it says: another set has another. A server tells which one it goes by.
    generation: int = Field(ge=1)
    adapters: tuple[ServedAdapter, ...] = ()


class RefusedAdapter(StatusModel):
    """An adapter that a server cannot load."""

    name: str = Field(max_length=63)
    message: str = Field(max_length=1024)


class AdapterReport(StatusModel):
    """What one server says of its adapters."""

    # Of the set that it goes by.
    generation: int = Field(default=0, ge=0)
    loaded: tuple[str, ...] = Field(default=(), max_length=64)
    refused: tuple[RefusedAdapter, ...] = Field(default=(), max_length=64)


class ServeRun(ApiModel):
    """A serving process. With an `AdapterSet`, `adapters` are those without which it does not serve."""

    version: Literal[1] = CONTRACT_VERSION
    type: Literal["serve"] = "serve"
    run: RunIdentity
    model: ModelUri
    # Of the model's files, as published; None: nobody knows it.
    digest: str | None = None
    # Left out where it says nothing new: a server that runs has the config that it should have.
    adapters: tuple[ServedAdapter, ...] = Field(default=(), exclude_if=lambda adapters: not adapters)
    # 0: a free one, which is in the URL that the process reports.
    port: int
    # From SIGTERM to SIGKILL: the time in which answers that are under way are finished.
    grace_seconds: float = Field(default=_GRACE_SECONDS, exclude_if=lambda seconds: seconds == _GRACE_SECONDS)


class GatewayRun(ApiModel):
    """A gateway process. Where it sends requests is in its routes, which change while it runs."""

    version: Literal[1] = CONTRACT_VERSION
    type: Literal["gateway"] = "gateway"
    run: RunIdentity
    # 0: a free one, which is in the URL that the process reports.
    port: int
    # From SIGTERM to SIGKILL: open answers may go on for so long.
    grace_seconds: float = 30.0
    # For so long it still takes connections after SIGTERM while it says that it is not ready, until all have heard.
    drain_seconds: float = 0.0


RunConfig = TrainRun | EvaluateRun | ServeRun | GatewayRun

run_config: TypeAdapter[RunConfig] = TypeAdapter(Annotated[RunConfig, Field(discriminator="type")])


class RunFailure(StatusModel):
    """Why a run ended without its goal."""

    reason: str = Field(max_length=128)
    message: str = Field(max_length=4096)
    retryable: bool


class TrainResult(StatusModel):
    """What a training run leaves."""

    type: Literal["train"] = "train"
    model: PublishedModel


class EvaluateResult(StatusModel):
    """What an evaluation leaves."""

    type: Literal["evaluate"] = "evaluate"
    results: tuple[MetricResult, ...]
    target: Subject
    baseline: Subject | None = None
    problems: tuple[str, ...] = ()
    report: str
    spent: Spent | None = None


class PartResult(StatusModel):
    """A part of an evaluation has written what it measured."""

    type: Literal["part"] = "part"


class SampleProgress(StatusModel):
    """How far an evaluation is, over all suites and models."""

    done: int = Field(ge=0)
    total: int = Field(ge=0)


class RatingProgress(StatusModel):
    """The page on which people vote, with its key, and how many votes it has."""

    url: str = Field(max_length=1200)
    votes: int = Field(ge=0)
    needed: int = Field(ge=0)


class ProgressDocument(StatusModel):
    """What a run says of itself. Every field but the version may be missing."""

    version: int = CONTRACT_VERSION
    state: Literal["Starting", "Running", "Succeeded", "Failed"] = "Starting"
    stage: str = Field(default="", max_length=200)
    updated_at: datetime | None = None
    training: TrainingProgress | None = None
    data: DataSummary | None = None
    checkpoint: CheckpointRecord | None = None
    best: CheckpointRecord | None = None
    tuning: TuningStatus | None = None
    # Of a training run with early stopping: which weights are published, and why it ended when it did.
    ending: str | None = Field(default=None, max_length=1024)
    resumed_from_step: int | None = None
    # Of an elastic run: how many workers train.
    workers: int | None = Field(default=None, ge=1)
    # The last 16 of each, oldest first.
    recoveries: tuple[Recovery, ...] = Field(default=(), max_length=16)
    skipped: tuple[SkippedCheckpoint, ...] = Field(default=(), max_length=16)
    samples: SampleProgress | None = None
    # While an evaluation waits for people.
    rating: RatingProgress | None = None
    url: str | None = None
    gateway: GatewayReport | None = None
    adapters: AdapterReport | None = None
    failure: RunFailure | None = None
    result: Annotated[TrainResult | EvaluateResult | PartResult, Field(discriminator="type")] | None = None
