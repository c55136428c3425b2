"""FineTuneJob: a base model and datasets become a fine-tuned model."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from tunesmith_api.base import (
    ApiModel,
    FolderUri,
    ItemName,
    ModelSource,
    Resources,
    StatusModel,
    StorageUri,
    Time,
)
from tunesmith_api.combinations import refusals
from tunesmith_api.data import TrainingData
from tunesmith_api.deepspeed import DeepSpeed
from tunesmith_api.evaluation import MOST_METRICS, Evaluation
from tunesmith_api.judging import API_KEY_VARIABLE
from tunesmith_api.meta import Condition
from tunesmith_api.podtemplate import LocalReference, PodTemplate
from tunesmith_api.policy import TrainingPolicy
from tunesmith_api.queueing import Backend, Queue
from tunesmith_api.training import Method, Task, Training
from tunesmith_api.tuning import Tuning, TuningStatus

# One place for the credentials of all storage that a spec names.
SecretRefs = Annotated[
    tuple[LocalReference, ...],
    Field(
        max_length=8,
        description="Secrets whose keys become environment variables of the pods: HF_TOKEN for the Hugging Face Hub, "
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and AWS_REGION for s3://, "
        f"{API_KEY_VARIABLE} for data.judge. The local shell takes them from its own environment.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    ),
]
# Recovering: between two attempts, or while a worker of the attempt comes back.
Phase = Literal["Pending", "Running", "Recovering", "Suspended", "Succeeded", "Failed"]


class Checkpoints(ApiModel):
    """What a run can go on from."""

    uri: StorageUri | None = Field(
        default=None, description="Folder for checkpoints. Default: output.uri with -checkpoints appended."
    )
    every_steps: int = Field(
        default=50, ge=1, le=10_000_000, description="Optimizer steps between checkpoints and between evaluations."
    )
    keep: int = Field(default=2, ge=1, le=1000, description="Complete checkpoints kept; older ones are deleted.")


class Output(ApiModel):
    """Where the model is published."""

    uri: FolderUri = Field(
        description="Folder that the model appears in, whole and at once. A merged one has its adapter in adapter/; "
        "one that is not merged is the adapter alone."
    )
    merge: bool | None = Field(
        default=None,
        description="Whether the adapter is merged into the model. Default: where its type can be (lora, ia3) and the "
        "weights are not quantised.",
    )


class BaseModelSource(ModelSource):
    """The model that training begins with."""

    task: Task | None = Field(
        default=None,
        description="What the model is trained to do. Default: what its architecture, the data's formats and the "
        "method say together.",
    )


class FineTuneJobSpec(ApiModel):
    """The desired model."""

    model: BaseModelSource = Field(description="Base model.")
    data: TrainingData = Field(description="Datasets.")
    method: Method = Field(default=Method(), description="How the model learns.")
    training: Training = Field(default=Training(), description="Hyperparameters.")
    deepspeed: DeepSpeed | None = Field(
        default=None, description="Train with DeepSpeed ZeRO; without it workers use PyTorch's DistributedDataParallel."
    )
    checkpoints: Checkpoints = Field(default=Checkpoints(), description="Checkpoints.")
    evaluation: Evaluation | None = Field(
        default=None, description="What each checkpoint is measured on, and when training ends early."
    )
    tuning: Tuning | None = Field(
        default=None,
        description="Search for settings: several trainings, each on one worker, the best of which is published. "
        "Default: one training with the settings as they are.",
    )
    output: Output = Field(description="Where the model is published.")
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Pods that train together. Each sees perDeviceTrainBatchSize sequences per device and step, and "
        "all must reach the volumes of the spec.",
    )
    min_workers: int | None = Field(
        default=None,
        ge=1,
        le=255,
        description="Makes the run elastic: it goes on with so many workers when others are gone, and with more when "
        "they are back, from a checkpoint each time. Each worker then does more micro-batches, so that an optimizer "
        "step sees as much as ever. Default: all workers, or none.",
    )
    resources: Resources = Field(default=Resources(), description="What each training pod asks for.")
    backend: Backend = Field(
        default="auto",
        description="What runs the pods of the next attempt: native (a Job and a StatefulSet) or kuberay (a RayJob). "
        "auto: what the operator is set to. The local shell runs processes and takes no notice.",
    )
    queue: Queue | None = Field(
        default=None,
        description="Where the run waits for its turn, and who starts its pods together. Default: each pod starts when "
        "a node can take it. The local shell takes no notice.",
    )
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Where and how the pods run.")
    secret_refs: SecretRefs = ()
    run_policy: TrainingPolicy = Field(
        default=TrainingPolicy(), description="Attempts, limits and suspension. May change at any time."
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if found := refusals(self):
            sentences = [(refusal.field, refusal.message) for refusal in found]
            text = "; ".join(f"{field}: {message}" for field, message in sentences)
            raise PydanticCustomError("combination", "{text}", {"text": text, "sentences": sentences})
        return self


class StepTime(StatusModel):
    """Where the time of an optimizer step goes: seconds of the first worker, the mean over its last steps."""

    data: float = Field(default=0.0, ge=0, description="Until the batches are there.")
    forward: float = Field(default=0.0, ge=0, description="Forward passes and the loss.")
    backward: float = Field(default=0.0, ge=0, description="Backward passes.")
    optimizer: float = Field(default=0.0, ge=0, description="Clipping the gradients and changing the weights.")
    communication: float = Field(
        default=0.0, ge=0, description="Waiting for other workers; what is sent while a worker computes costs nothing."
    )
    checkpoint: float = Field(default=0.0, ge=0, description="Saving checkpoints, spread over all steps.")
    evaluation: float = Field(default=0.0, ge=0, description="Measuring evaluation loss, spread over all steps.")
    other: float = Field(default=0.0, ge=0, description="All else.")


class WorkerProgress(StatusModel):
    """How one worker does."""

    name: str = Field(max_length=253, description="Its pod; with several GPUs in a pod also the GPU's number.")
    tokens_per_second: float = Field(ge=0, description="Real tokens that it trains on per second.")
    step_seconds: float = Field(ge=0, description="Seconds of a step that it works itself and waits for nobody.")
    memory_bytes: int = Field(ge=0, description="Most memory that it has had.")


class Straggler(StatusModel):
    """A worker that the others wait for."""

    name: str = Field(max_length=253, description="Its name in nodes.")
    factor: float = Field(ge=1, description="Its stepSeconds over the median of all workers.")


class StreamProgress(StatusModel):
    """How well one dataset is learnt."""

    name: str = Field(max_length=63, description="Name of the dataset.")
    loss: float | None = Field(default=None, description="Mean training loss of its tokens, in nats.")
    eval_loss: float | None = Field(default=None, description="Loss on its validation records, in nats.")


class MetricValue(StatusModel):
    """What a checkpoint was measured to be."""

    metric: str = Field(max_length=100, description="evalLoss or SUITE/METRIC.")
    value: float = Field(description="Its value, in the metric's own unit.")


# The metrics of one checkpoint.
MetricValues = Annotated[
    tuple[MetricValue, ...],
    Field(max_length=MOST_METRICS, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]


class TrainingProgress(StatusModel):
    """How far training is, and how fast."""

    step: int = Field(default=0, ge=0, description="Optimizer steps done.")
    total_steps: int = Field(default=0, ge=0, description="Optimizer steps of the whole run.")
    epoch: float = Field(default=0.0, ge=0, description="Passes over the data done.")
    percent: int = Field(default=0, ge=0, le=100, description="Share of steps done.")
    loss: float | None = Field(default=None, description="Mean training loss since the last report, in nats.")
    eval_loss: float | None = Field(default=None, description="Loss on the validation records, in nats.")
    learning_rate: float | None = Field(default=None, description="Learning rate of the last step.")
    grad_norm: float | None = Field(default=None, description="Norm of the gradients of the last step, unclipped.")
    tokens_per_second: float | None = Field(default=None, description="Real tokens trained per second, all workers.")
    padded_tokens_per_second: float | None = Field(
        default=None, description="Tokens computed per second with their padding, all workers."
    )
    samples_per_second: float | None = Field(default=None, description="Records trained per second, all workers.")
    real_token_ratio: float | None = Field(default=None, description="Real tokens over tokens computed.")
    mfu: float | None = Field(
        default=None,
        ge=0,
        description="Model FLOPs utilisation: what the model needs for its real tokens, over what the GPUs could "
        "compute in that time. Missing on CPUs and on GPUs whose peak is not known.",
    )
    memory_bytes: int | None = Field(
        default=None, ge=0, description="Most memory that a worker has had: of its GPU, or of its process on CPUs."
    )
    step_time: StepTime | None = Field(default=None, description="Where the time of a step goes.")
    nodes: tuple[WorkerProgress, ...] = Field(
        default=(),
        max_length=64,
        description="Runs of several workers: the workers, the 64 slowest of more.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    stragglers: tuple[Straggler, ...] = Field(
        default=(),
        max_length=8,
        description="Workers that take more than 1.5 times as long for a step as the median, slowest first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    streams: tuple[StreamProgress, ...] = Field(
        default=(),
        max_length=64,
        description="Runs of several datasets: each one's loss.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    metrics: MetricValues = Field(
        default=(), description="What the newest checkpoint was measured to be, of those that are measured."
    )
    eta: datetime | None = Field(default=None, description="When training is expected to end.")


class DroppedRecords(StatusModel):
    """Records that were left out, by cause."""

    overlong: int = Field(default=0, ge=0, description="Longer than maxLength.")
    empty: int = Field(default=0, ge=0, description="With an empty answer or text, or nothing else to learn from.")
    unlabelled: int = Field(
        default=0, ge=0, description="Parts of records longer than maxLength in which loss counts no token."
    )
    duplicates: int = Field(default=0, ge=0, description="With the same text as an earlier one.")
    near_duplicates: int = Field(default=0, ge=0, description="With nearly the words of an earlier one.")
    language: int = Field(default=0, ge=0, description="In another language than those of quality.languages.")
    too_short: int = Field(default=0, ge=0, description="Shorter than quality.minCharacters.")
    too_long: int = Field(default=0, ge=0, description="Longer than quality.maxCharacters.")
    contaminated: int = Field(default=0, ge=0, description="With words in a row of an evaluation set.")
    undecided: int = Field(default=0, ge=0, description="Pairs for which data.judge named no better answer.")
    contradicted: int = Field(
        default=0, ge=0, description="Pairs of method.rm.domain that the model of the first stage contradicts."
    )


class DatasetSummary(StatusModel):
    """What one dataset gives."""

    name: ItemName = Field(description="Its name in data.train, or in method.rm.domain.train.")
    records: int = Field(default=0, ge=0, description="Its records that are trained on.")
    tokens: int = Field(default=0, ge=0, description="Tokens in them.")
    share: float = Field(
        default=0.0, ge=0, le=1, description="Its part of an epoch, counted as data.mixing.by says: 0.25 is a quarter."
    )
    passes: float = Field(
        default=1.0, ge=0, description="How often an epoch sees each of its records, on average; 1 unless mixed."
    )


class DataSummary(StatusModel):
    """What the datasets hold."""

    records: int = Field(default=0, ge=0, description="Training records used.")
    validation_records: int = Field(default=0, ge=0, description="Validation records used.")
    tokens: int = Field(default=0, ge=0, description="Tokens in the training records.")
    truncated: int = Field(default=0, ge=0, description="Records longer than maxLength that were cut off.")
    split: int = Field(default=0, ge=0, description="Records longer than maxLength that were cut into several.")
    redactions: int = Field(default=0, ge=0, description="Personal data replaced by quality.redactPii.")
    redacted_records: int = Field(default=0, ge=0, description="Records that held it.")
    judged: int = Field(default=0, ge=0, description="Pairs that data.judge was asked about.")
    dropped: DroppedRecords = Field(default=DroppedRecords(), description="Records that were left out.")
    datasets: tuple[DatasetSummary, ...] = Field(
        default=(),
        max_length=64,
        description="The same by training dataset.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class CheckpointRecord(StatusModel):
    """A complete checkpoint."""

    step: int = Field(ge=0, description="Optimizer steps it holds.")
    uri: str = Field(max_length=1200, description="Its folder.")
    metrics: MetricValues = Field(default=(), description="What it was measured to be.")


class SkippedCheckpoint(StatusModel):
    """A checkpoint that cannot be read, so that the one before it was taken."""

    uri: str = Field(max_length=1200, description="Its folder.")
    message: str = Field(max_length=1024, description="What is wrong with it.")


class Recovery(StatusModel):
    """A worker was lost within the attempt, and training goes on."""

    at: Time = Field(description="When it was lost.")
    worker: str = Field(max_length=253, description="What was lost, such as a pod.")
    reason: str = Field(max_length=128, description="Why, as far as it is known: a reason of the conditions.")
    message: str | None = Field(default=None, max_length=1024, description="Why, in a sentence.")
    step: int = Field(ge=0, description="Last step before.")
    resumed_from_step: int | None = Field(
        default=None, description="Step of the checkpoint that training went on from."
    )
    seconds: float | None = Field(
        default=None, description="Seconds from the loss to the next step; missing until there is one."
    )


class CheckpointStatus(StatusModel):
    """The checkpoints of the run."""

    latest: CheckpointRecord | None = Field(default=None, description="What the next attempt goes on from.")
    best: CheckpointRecord | None = Field(
        default=None, description="With earlyStopping: the best one, which is kept, and whose weights are published."
    )
    skipped: tuple[SkippedCheckpoint, ...] = Field(
        default=(),
        max_length=16,
        description="The last that could not be read, so that the one before was taken, oldest first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class AttemptRecord(StatusModel):
    """One try."""

    number: int = Field(ge=1, description="Counts from 1.")
    workload: str = Field(max_length=80, description="Name of the Job or process.")
    started_at: Time = Field(description="When it was started.")
    running_since: Time | None = Field(default=None, description="When its pods first ran; GPU-hours count from here.")
    ended_at: Time | None = Field(default=None, description="When it ended.")
    reason: str | None = Field(default=None, max_length=128, description="How it ended.")
    message: str | None = Field(default=None, max_length=4096, description="Why, in a sentence.")
    retryable: bool | None = Field(default=None, description="Of a failure: whether trying again can help.")
    stopping: str | None = Field(
        default=None, max_length=128, description="Why it has been told to end, as long as it has not ended."
    )
    pod: str | None = Field(default=None, max_length=253, description="The pod that it died of, where it was one.")
    nodes: tuple[Annotated[str, StringConstraints(max_length=253)], ...] = Field(
        default=(),
        max_length=64,
        description="Nodes of its pods; when it died of one that was lost, only that pod's.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    from_step: int | None = Field(default=None, ge=0, description="Step it went on from.")
    to_step: int | None = Field(default=None, ge=0, description="Step it reached.")
    recoveries: int = Field(default=0, ge=0, description="How often its workers started again after a loss.")
    gpus: int = Field(default=0, ge=0, description="GPUs of all its pods together.")
    gpu_hours: float | None = Field(
        default=None, ge=0, description="Hours that its pods ran, times its GPUs; renewed with each step reported."
    )


class PublishedModel(StatusModel):
    """A model that is there to be used."""

    uri: str = Field(max_length=1200, description="Its folder.")
    digest: str | None = Field(default=None, max_length=80, description="SHA-256 over its weights and tokenizer.")
    adapter: bool = Field(default=False, description="Whether adapter/ is in the folder.")
    partial: bool = Field(
        default=False, description="Whether training ended early, because runPolicy.gpuHours were used up."
    )


class ProgressWatch(StatusModel):
    """What is known of a progress document that should change now and then."""

    mark: str = Field(max_length=64, description="What tells this document from the next.")
    since: Time = Field(description="When the operator first saw it so.")
    silent: bool = Field(
        default=False,
        description="No other came for progressTimeoutSeconds. After as long again the attempt counts as hung.",
    )


class JobStatus(StatusModel):
    """What every resource that runs to an end says of itself."""

    phase: Phase = Field(default="Pending", description="Summary for people; programs read the conditions.")
    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that this speaks of.")
    attempt: int = Field(default=0, ge=0, description="Number of the last attempt.")
    started_at: Time | None = Field(
        default=None, description="When the first attempt was started; activeDeadlineSeconds count from here."
    )
    attempts: tuple[AttemptRecord, ...] = Field(
        default=(),
        max_length=20,
        description="The last attempts, oldest first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    started_with: dict[str, Annotated[str, StringConstraints(max_length=64)]] = Field(
        default={},
        description="SHA-256 of each part of the spec that may not change once the job has started, by its name.",
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        description="Succeeded, Failed, Reconciling, Stalled; an EvalJob also has Passed, and a FineTuneJob Suspended "
        "and, with a queue, Queued.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class FineTuneJobStatus(JobStatus):
    """The observed run."""

    progress: TrainingProgress | None = Field(default=None, description="How far training is.")
    data: DataSummary | None = Field(default=None, description="What the datasets hold.")
    checkpoints: CheckpointStatus | None = Field(default=None, description="The checkpoints of the run.")
    tuning: TuningStatus | None = Field(default=None, description="The trials of a search.")
    output: PublishedModel | None = Field(default=None, description="The published model.")
    workers: int | None = Field(
        default=None, ge=1, description="Of a run with minWorkers: how many workers train, or trained last."
    )
    recoveries: tuple[Recovery, ...] = Field(
        default=(),
        max_length=16,
        description="The last workers that were lost within an attempt, oldest first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    gpu_hours: float | None = Field(default=None, ge=0, description="GPU-hours of all attempts together.")
    suspended_since: Time | None = Field(
        default=None, description="Since when it is suspended, if it has been started before."
    )
    suspended_seconds: int = Field(
        default=0, ge=0, description="How long it was suspended before; activeDeadlineSeconds leave this out."
    )
    watch: ProgressWatch | None = Field(
        default=None, description="Whether the attempt still reports, as the operator sees it."
    )
