"""How a model learns: method, adapter, hyperparameters."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, FolderUri
from tunesmith_api.domain import DomainStage
from tunesmith_api.reinforcement import Distillation, GroupRelative, ProximalPolicy, Rewards

# What a model does, as Hugging Face calls its tasks and auto classes.
Task = Literal[
    "causal-lm",
    "masked-lm",
    "seq2seq-lm",
    "sequence-classification",
    "token-classification",
    "question-answering",
]
MethodType = Literal["pt", "sft", "rm", "dpo", "kto", "orpo", "grpo", "ppo", "distill"]
AdapterType = Literal["lora", "ia3", "prefix-tuning", "prompt-tuning", "full"]
ModuleName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Rank = Annotated[int, Field(ge=1, le=1024)]

LORA_FIELDS = ("r", "alpha", "dropout", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")


class Adapter(ApiModel):
    """Which weights are trained."""

    type: AdapterType = Field(
        default="lora",
        description="lora: low-rank matrices beside frozen weights. ia3: a scale for each of a layer's outputs. "
        "prefix-tuning: keys and values in front of every layer's. prompt-tuning: vectors in front of the input. "
        "full: every weight.",
    )
    r: int = Field(default=16, ge=1, le=1024, description="LoRA: rank of the update matrices.")
    alpha: int = Field(default=32, ge=1, le=4096, description="LoRA: scale; the update is multiplied by alpha / r.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="LoRA: dropout on the adapter's input.")
    use_rslora: bool = Field(
        default=False, description="LoRA: multiply the update by alpha / sqrt(r), which keeps large ranks stable."
    )
    use_dora: bool = Field(
        default=False, description="LoRA: learn the length of each weight column apart from its direction (DoRA)."
    )
    rank_pattern: dict[ModuleName, Rank] = Field(
        default={}, max_length=64, description="LoRA: ranks of single modules, by the end of their names."
    )
    alpha_pattern: dict[ModuleName, Annotated[int, Field(ge=1, le=4096)]] = Field(
        default={}, max_length=64, description="LoRA: alphas of single modules, by the end of their names."
    )
    target_modules: tuple[ModuleName, ...] = Field(
        default=("all-linear",),
        min_length=1,
        max_length=64,
        description="LoRA and IA3: names of the modules that get an adapter, or all-linear alone for every linear "
        "layer but the output layer.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    num_virtual_tokens: int = Field(
        default=20, ge=1, le=4096, description="prefix-tuning and prompt-tuning: how many vectors are learnt."
    )
    load_in_4bit: bool = Field(
        default=False,
        alias="loadIn4bit",
        description="LoRA: hold the frozen weights in 4 bits (nf4), as QLoRA does. Needs a CUDA GPU.",
    )
    continue_from: FolderUri | None = Field(
        default=None,
        description="Folder of an adapter of the same base model and type that training goes on from; its own settings "
        "(rank, modules) hold.",
    )


class RewardModelling(ApiModel):
    """Settings of method rm."""

    center_rewards_coefficient: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description="Weight of a penalty that keeps the mean reward near zero. Default: none.",
    )
    domain: DomainStage | None = Field(
        default=None,
        description="A second stage: after data.train, pairs of a domain, without those that the model of the first "
        "stage contradicts. Needs data.validation.",
    )


class DirectPreference(ApiModel):
    """Settings of method dpo."""

    beta: float = Field(default=0.1, gt=0, le=100, description="How closely the model stays to the one it began as.")
    loss_type: Literal["sigmoid", "hinge", "ipo", "robust"] = Field(
        default="sigmoid", description="sigmoid is DPO itself; the others are TRL's variants of the same names."
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, le=0.49, description="lossType robust: share of preferences taken for wrong."
    )

    @model_validator(mode="after")
    def _smoothed(self) -> Self:
        if self.label_smoothing and self.loss_type != "robust":
            raise ValueError(f"labelSmoothing is for lossType robust, and lossType is {self.loss_type}; leave it out")
        return self


class KahnemanTversky(ApiModel):
    """Settings of method kto."""

    beta: float = Field(default=0.1, gt=0, le=100, description="How closely the model stays to the one it began as.")
    desirable_weight: float = Field(default=1.0, gt=0, le=1000, description="Weight of the wanted answers' loss.")
    undesirable_weight: float = Field(default=1.0, gt=0, le=1000, description="Weight of the unwanted answers' loss.")


class OddsRatio(ApiModel):
    """Settings of method orpo."""

    beta: float = Field(default=0.1, gt=0, le=100, description="Weight of the odds ratio beside the usual loss.")


class Method(ApiModel):
    """How the model learns."""

    type: MethodType = Field(
        default="sft",
        description="sft: supervised fine-tuning; loss counts the answer only (every assistant turn of messages, the "
        "whole record of text), or the labels of a classifier. pt: incremental pre-training; loss counts every token. "
        "rm: a reward model from preferences. dpo, orpo: learn preferences directly. kto: learn from answers marked "
        "wanted or unwanted. grpo, ppo: learn from rewards for answers of its own. distill: learn what a teacher says.",
    )
    adapter: Adapter = Field(default=Adapter(), description="Which weights are trained.")
    rm: RewardModelling | None = Field(default=None, description="Settings of method rm.")
    dpo: DirectPreference | None = Field(default=None, description="Settings of method dpo.")
    kto: KahnemanTversky | None = Field(default=None, description="Settings of method kto.")
    orpo: OddsRatio | None = Field(default=None, description="Settings of method orpo.")
    grpo: GroupRelative | None = Field(default=None, description="Settings of method grpo.")
    ppo: ProximalPolicy | None = Field(default=None, description="Settings of method ppo.")
    distill: Distillation | None = Field(default=None, description="Settings of method distill.")
    rewards: Rewards = ()

    @model_validator(mode="after")
    def _own_settings(self) -> Self:
        for name in ("rm", "dpo", "kto", "orpo", "grpo", "ppo", "distill"):
            if getattr(self, name) is not None and name != self.type:
                raise ValueError(f"{name} holds settings of method {name}, and type is {self.type}")
        if self.type in ("grpo", "ppo") and not self.rewards:
            raise ValueError(f"method {self.type} learns from rewards: set rewards")
        if self.rewards and self.type not in ("grpo", "ppo"):
            raise ValueError(f"rewards are for methods grpo and ppo, and type is {self.type}")
        if self.type == "distill" and self.distill is None:
            raise ValueError("method distill learns from a teacher: set distill.teacher")
        return self


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
        default=None,
        ge=0,
        le=10,
        description="Peak learning rate. Default: 2e-4 for adapters and 2e-5 for full; a twentieth of that by dpo, "
        "kto, orpo, grpo and ppo.",
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="Shape of the learning rate over the run."
    )
    warmup_steps: int = Field(default=0, ge=0, le=10_000_000, description="Steps from 0 to the peak learning rate.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="AdamW weight decay.")
    max_grad_norm: float = Field(default=1.0, gt=0, le=1000, description="Gradient norm to clip to.")
    label_smoothing_factor: float = Field(
        default=0.0, ge=0, lt=1, description="Share of each target spread over all classes or tokens; 0 is off."
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        default="auto",
        description="What matrices are multiplied in; weights that learn stay fp32. auto: bf16 where the GPU has it, "
        "else fp32. fp16 needs a GPU.",
    )
    activation_checkpointing: bool = Field(
        default=False, description="Compute activations again in the backward pass: less memory, about a third slower."
    )
    torch_compile: bool = Field(default=False, description="Compile the model with torch.compile.")
    seed: int = Field(default=42, ge=0, le=4_294_967_295, description="Seed of initialisation, order and dropout.")
