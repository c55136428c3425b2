"""How a model learns from rewards or from a teacher: methods grpo, ppo and distill."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, ModelUri

# Rewards that come with the runtime; the text of each is its entry in the reference.
REWARD_FUNCTIONS: dict[str, str] = {
    "exactMatch": "1 when the answer equals a reference after SQuAD's normalisation, else 0.",
    "f1": "Token F1 against the best reference, as SQuAD defines it, 0 to 1.",
    "containsReference": "1 when the normalised answer contains a normalised reference as whole words, else 0.",
    "jsonValid": "1 when the answer is one JSON value and nothing else, else 0.",
    "wordCount": "The number of words of the answer; with a small negative weight, a price for long answers.",
}
_WORD = "[A-Za-z_][A-Za-z0-9_]*"
# A name of the list above, or a function of the training image.
FunctionName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=rf"^([A-Za-z0-9]+|{_WORD}(\.{_WORD})*:{_WORD})$"),
]


class Reward(ApiModel):
    """What an answer is worth: the score of a reward model, or what a function returns."""

    model: ModelUri | None = Field(
        default=None,
        description="A reward model, such as one that method rm publishes; it may have another tokenizer.",
    )
    function: FunctionName | None = Field(
        default=None,
        description=f"One of {', '.join(REWARD_FUNCTIONS)}, or package.module:function of the training image, which is "
        "called with the lists prompts, completions and references, and returns a number for each answer.",
    )
    weight: float = Field(
        default=1.0, ge=-1000, le=1000, description="What the reward is multiplied by before all are added up."
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.model is None) == (self.function is None):
            raise ValueError("a reward is either a model or a function; set one of the two")
        if self.function is not None and ":" not in self.function and self.function not in REWARD_FUNCTIONS:
            raise ValueError(
                f"there is no reward function {self.function}; use {', '.join(REWARD_FUNCTIONS)}, or "
                "package.module:function"
            )
        return self

    @property
    def name(self) -> str:
        """What logs and messages call it."""
        return self.model or self.function or ""


Rewards = Annotated[
    tuple[Reward, ...],
    Field(
        max_length=8,
        description="Methods grpo and ppo: what answers are worth; the weighted rewards are added up.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    ),
]


class GroupRelative(ApiModel):
    """Settings of method grpo, named as TRL names them."""

    num_generations: int = Field(
        default=8,
        ge=2,
        le=1024,
        description="Answers to each prompt, whose rewards are compared. All sequences of an optimizer step "
        "(perDeviceTrainBatchSize x gradientAccumulationSteps x devices) must be a multiple of it.",
    )
    max_completion_length: int = Field(default=256, ge=1, le=131_072, description="Tokens of an answer at most.")
    temperature: float = Field(default=1.0, gt=0, le=10, description="Temperature that answers are drawn at.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Draw from the likeliest tokens only whose probabilities add up to this."
    )
    beta: float = Field(
        default=0.0, ge=0, le=100, description="Weight of the KL divergence from the model that training began with."
    )
    epsilon: float = Field(default=0.2, gt=0, lt=1, description="How far a probability ratio may leave 1.")
    num_iterations: int = Field(default=1, ge=1, le=100, description="How often the same answers are learnt from.")
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = Field(
        default="dapo",
        description="What the sum over tokens is divided by. grpo: each answer's length. dapo: all tokens of the step. "
        "dr_grpo: maxCompletionLength. bnpo: all tokens of the batch.",
    )


class ProximalPolicy(ApiModel):
    """Settings of method ppo."""

    max_completion_length: int = Field(default=256, ge=1, le=131_072, description="Tokens of an answer at most.")
    temperature: float = Field(default=1.0, gt=0, le=10, description="Temperature that answers are drawn at.")
    kl_coef: float = Field(
        default=0.05,
        ge=0,
        le=100,
        description="Weight of the KL divergence from the model that training began with, which each token pays.",
    )
    clip_range: float = Field(default=0.2, gt=0, lt=1, description="How far a probability ratio may leave 1.")
    clip_range_value: float = Field(
        default=0.2, gt=0, le=1000, description="How far a value may leave the one at the time of the answer."
    )
    vf_coef: float = Field(default=0.1, ge=0, le=100, description="Weight of the value loss.")
    gamma: float = Field(default=1.0, ge=0, le=1, description="Discount of later rewards, per token.")
    lam: float = Field(default=0.95, ge=0, le=1, description="Lambda of generalised advantage estimation.")
    num_iterations: int = Field(default=4, ge=1, le=100, description="How often the same answers are learnt from.")
    num_mini_batches: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Optimizer steps that the answers of one rollout are spread over, each time they are learnt from.",
    )
    whiten_rewards: bool = Field(
        default=False, description="Divide the tokens' rewards by their standard deviation, over all workers."
    )
    missing_eos_penalty: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="What an answer pays that is cut off at maxCompletionLength. Default: nothing.",
    )


class Distillation(ApiModel):
    """Settings of method distill, named as TRL names them."""

    teacher: ModelUri = Field(description="The model to learn from; its vocabulary must be the same.")
    max_completion_length: int = Field(default=256, ge=1, le=131_072, description="Tokens of an answer at most.")
    temperature: float = Field(
        default=1.0, gt=0, le=10, description="Temperature of both models' distributions, and of drawn answers."
    )
    beta: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Which divergence is minimised. 0: forward KL, which covers all that the teacher says. 1: reverse "
        "KL, which keeps to what it is surest of. Between: generalised Jensen-Shannon.",
    )
    lmbda: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of batches whose answers the model writes itself; in the others they are the data's.",
    )


def ungrouped(batch_size: int, accumulation: int, devices: int, num_generations: int) -> str | None:
    """Return why the sequences of an optimizer step do not make whole groups of answers; None when they do."""
    sequences = batch_size * accumulation * devices
    if sequences % num_generations == 0:
        return None
    return (
        f"an optimizer step has {sequences} sequences (perDeviceTrainBatchSize {batch_size} x "
        f"gradientAccumulationSteps {accumulation} x {devices} devices), which is no multiple of numGenerations "
        f"{num_generations}; change one of them"
    )
