"""FineTuneJob: a base model and datasets become a fine-tuned model."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import (
    ApiModel,
    FolderUri,
    ItemName,
    ModelSource,
    Resources,
    RunPolicy,
    StatusModel,
    StorageUri,
)
from tunesmith_api.meta import Condition
from tunesmith_api.podtemplate import LocalReference, PodTemplate

DataFormat = Literal["alpaca", "dolly", "squad", "messages", "promptCompletion", "text"]

# One place for the credentials of all storage that a spec names.
SecretRefs = Annotated[
    tuple[LocalReference, ...],
    Field(
        max_length=8,
        description="Secrets whose keys become environment variables of the pods: HF_TOKEN for the Hugging Face Hub, "
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and AWS_REGION for s3://. The local shell takes "
        "them from its own environment.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    ),
]
ModuleName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Phase = Literal["Pending", "Running", "Succeeded", "Failed"]


class DatasetSource(ApiModel):
    """A JSON or JSONL file."""

    uri: StorageUri = Field(
        description="pvc://CLAIM/PATH, s3://BUCKET/KEY or file:///PATH (local shell only) of a JSON or JSONL file."
    )
    format: DataFormat = Field(
        description="Shape of a record. alpaca: instruction, input, output. dolly: instruction, context, response, "
        "category. squad: SQuAD 1.1 as published. messages: chat messages with role and content. "
        "promptCompletion: prompt, completion. text: text."
    )


class Dataset(DatasetSource):
    """A named training dataset."""

    name: ItemName = Field(description="Name in status, progress and lineage.")


class ValidationData(ApiModel):
    """The records that loss is measured on but never trained on."""

    fraction: float | None = Field(
        default=None, gt=0, le=0.5, description="Share of the training records to hold out, chosen by `data.seed`."
    )
    dataset: DatasetSource | None = Field(default=None, description="A dataset of its own.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.fraction is None) == (self.dataset is None):
            raise ValueError("set exactly one of fraction and dataset")
        return self


class TrainingData(ApiModel):
    """What to train on, and how records become token sequences."""

    train: tuple[Dataset, ...] = Field(
        min_length=1,
        max_length=64,
        description="Datasets, trained on together.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    validation: ValidationData | None = Field(default=None, description="What to measure the evaluation loss on.")
    max_length: int = Field(
        default=1024,
        ge=8,
        le=1_048_576,
        description="Longest record in tokens, chat template included. A longer record is dropped and counted in "
        "status.data.dropped, never cut.",
    )
    packing: Literal["none", "bfd"] = Field(
        default="none",
        description="bfd puts several records into one sequence of up to maxLength tokens (best-fit decreasing), "
        "each with positions and attention of its own; a step then sees more records. none pads every batch to "
        "its longest record.",
    )
    seed: int = Field(default=42, ge=0, le=4_294_967_295, description="Seed of the validation split.")

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [dataset.name for dataset in self.train]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"train has more than one dataset named {', '.join(twice)}")
        return self


class Adapter(ApiModel):
    """Which weights are trained."""

    type: Literal["lora", "full"] = Field(
        default="lora", description="lora trains low-rank matrices beside frozen weights; full trains every weight."
    )
    r: int = Field(default=16, ge=1, le=1024, description="LoRA: rank of the update matrices.")
    alpha: int = Field(default=32, ge=1, le=4096, description="LoRA: scale; the update is multiplied by alpha / r.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="LoRA: dropout on the adapter's input.")
    target_modules: tuple[ModuleName, ...] = Field(
        default=("all-linear",),
        min_length=1,
        max_length=64,
        description="LoRA: names of the modules that get an adapter, or all-linear alone for every linear layer but "
        "the output layer.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class Method(ApiModel):
    """How the model learns."""

    type: Literal["sft"] = Field(
        default="sft",
        description="sft: supervised fine-tuning. Loss counts the completion only (every assistant turn of messages; "
        "the whole record of text).",
    )
    adapter: Adapter = Field(default=Adapter(), description="Which weights are trained.")


class Training(ApiModel):
    """Hyperparameters under the names of Hugging Face TrainingArguments."""

    num_train_epochs: float = Field(default=3.0, gt=0, le=10_000, description="Passes over the training records.")
    max_steps: int | None = Field(
        default=None, ge=1, le=100_000_000, description="Optimizer steps; overrides numTrainEpochs."
    )
    per_device_train_batch_size: int = Field(default=8, ge=1, le=4096, description="Sequences in a batch of a worker.")
    per_device_eval_batch_size: int = Field(default=8, ge=1, le=4096, description="The same for evaluation loss.")
    gradient_accumulation_steps: int = Field(default=1, ge=1, le=4096, description="Batches per optimizer step.")
    learning_rate: float | None = Field(
        default=None, ge=0, le=10, description="Peak learning rate. Default: 2e-4 for lora, 2e-5 for full."
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="Shape of the learning rate over the run."
    )
    warmup_steps: int = Field(default=0, ge=0, le=10_000_000, description="Steps from 0 to the peak learning rate.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="AdamW weight decay.")
    max_grad_norm: float = Field(default=1.0, gt=0, le=1000, description="Gradient norm to clip to.")
    seed: int = Field(default=42, ge=0, le=4_294_967_295, description="Seed of initialisation, order and dropout.")


class DeepSpeed(ApiModel):
    """How optimizer, gradients and weights are spread over the workers."""

    zero_stage: int = Field(
        default=2,
        ge=0,
        le=3,
        description="0: nothing is spread. 1: optimizer states are. 2: gradients as well. 3: weights as well.",
    )


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
        description="Folder that the merged model appears in, whole and at once; adapter/ inside it holds the adapter."
    )


class FineTuneJobSpec(ApiModel):
    """The desired model."""

    model: ModelSource = Field(description="Base model.")
    data: TrainingData = Field(description="Datasets.")
    method: Method = Field(default=Method(), description="How the model learns.")
    training: Training = Field(default=Training(), description="Hyperparameters.")
    deepspeed: DeepSpeed | None = Field(
        default=None, description="Train with DeepSpeed ZeRO; without it workers use PyTorch's DistributedDataParallel."
    )
    checkpoints: Checkpoints = Field(default=Checkpoints(), description="Checkpoints.")
    output: Output = Field(description="Where the model is published.")
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Pods that train together. Each sees perDeviceTrainBatchSize sequences per device and step, and "
        "all must reach the volumes of the spec.",
    )
    resources: Resources = Field(default=Resources(), description="What each training pod asks for.")
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Where and how the pods run.")
    secret_refs: SecretRefs = ()
    run_policy: RunPolicy = Field(default=RunPolicy(), description="Attempts.")


class TrainingProgress(StatusModel):
    """How far training is."""

    step: int = Field(default=0, ge=0, description="Optimizer steps done.")
    total_steps: int = Field(default=0, ge=0, description="Optimizer steps of the whole run.")
    epoch: float = Field(default=0.0, ge=0, description="Passes over the data done.")
    percent: int = Field(default=0, ge=0, le=100, description="Share of steps done.")
    loss: float | None = Field(default=None, description="Mean training loss since the last report, in nats.")
    eval_loss: float | None = Field(default=None, description="Loss on the validation records, in nats.")
    learning_rate: float | None = Field(default=None, description="Learning rate of the last step.")
    tokens_per_second: float | None = Field(default=None, description="Real tokens trained per second, all workers.")
    real_token_ratio: float | None = Field(default=None, description="Real tokens over tokens computed.")
    eta: datetime | None = Field(default=None, description="When training is expected to end.")


class DroppedRecords(StatusModel):
    """Records that were left out, by cause."""

    overlong: int = Field(default=0, ge=0, description="Longer than maxLength.")
    empty: int = Field(default=0, ge=0, description="With an empty answer or text.")


class DataSummary(StatusModel):
    """What the datasets hold."""

    records: int = Field(default=0, ge=0, description="Training records used.")
    validation_records: int = Field(default=0, ge=0, description="Validation records used.")
    tokens: int = Field(default=0, ge=0, description="Tokens in the training records.")
    dropped: DroppedRecords = Field(default=DroppedRecords(), description="Records that were left out.")


class CheckpointRecord(StatusModel):
    """A complete checkpoint."""

    step: int = Field(ge=0, description="Optimizer steps it holds.")
    uri: str = Field(max_length=1200, description="Its folder.")


class CheckpointStatus(StatusModel):
    """The checkpoints of the run."""

    latest: CheckpointRecord | None = Field(default=None, description="What the next attempt goes on from.")


class AttemptRecord(StatusModel):
    """One try."""

    number: int = Field(ge=1, description="Counts from 1.")
    workload: str = Field(max_length=80, description="Name of the Job or process.")
    started_at: datetime = Field(description="When it was started.")
    ended_at: datetime | None = Field(default=None, description="When it ended.")
    reason: str | None = Field(default=None, max_length=128, description="How it ended.")
    message: str | None = Field(default=None, max_length=4096, description="Why, in a sentence.")
    from_step: int | None = Field(default=None, ge=0, description="Step it went on from.")
    to_step: int | None = Field(default=None, ge=0, description="Step it reached.")


class PublishedModel(StatusModel):
    """A model that is there to be used."""

    uri: str = Field(max_length=1200, description="Its folder.")
    digest: str | None = Field(default=None, max_length=80, description="SHA-256 over its weights and tokenizer.")
    adapter: bool = Field(default=False, description="Whether adapter/ is in the folder.")


class JobStatus(StatusModel):
    """What every resource that runs to an end says of itself."""

    phase: Phase = Field(default="Pending", description="Summary for people; programs read the conditions.")
    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that this speaks of.")
    attempt: int = Field(default=0, ge=0, description="Number of the last attempt.")
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
        description="Succeeded, Failed, Reconciling, Stalled; an EvalJob also has Passed.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class FineTuneJobStatus(JobStatus):
    """The observed run."""

    progress: TrainingProgress | None = Field(default=None, description="How far training is.")
    data: DataSummary | None = Field(default=None, description="What the datasets hold.")
    checkpoints: CheckpointStatus | None = Field(default=None, description="The checkpoints of the run.")
    output: PublishedModel | None = Field(default=None, description="The published model.")
