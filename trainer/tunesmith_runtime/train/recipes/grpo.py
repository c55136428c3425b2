"""Group relative policy optimisation: the rewards of several answers to one prompt are compared."""

from collections.abc import Sequence
from math import gcd
from typing import Any

from torch.utils.data import Sampler
from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer

from tunesmith_api.reinforcement import GroupRelative, Reward, ungrouped
from tunesmith_runtime import storage
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.recipes.preference import check_reference, settle_reference
from tunesmith_runtime.train.recipes.prompts import ACCEPTED, check_adapter, check_room, encode
from tunesmith_runtime.train.recipes.recipe import Recipe, Setup
from tunesmith_runtime.train.rewards import Asked, Scorer, load_scorers
from tunesmith_runtime.train.rollouts import RolloutTrainer


class GroupTrainer(RolloutTrainer, GRPOTrainer):
    """TRL's trainer over prompts that are tokenised already, in an order that a resumed run sees again."""

    @property
    def micro_batches(self) -> int:
        """Micro-batches that one rollout is learnt from."""
        return int(self.args.steps_per_generation * self.num_iterations)

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        copies = self.num_generations
        return self.prompt_sampler(prompts=self.args.generation_batch_size // copies, copies=copies)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._asked_ids = [row["input_ids"] for row in inputs]
        return super()._generate_and_score_completions(inputs)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return self._asked_ids, None, {}


class _TRLReward:
    """A reward as TRL calls it: with the columns of the rows, by name."""

    def __init__(self, scorer: Scorer) -> None:
        self.__name__ = scorer.name  # which TRL logs it by
        self._scorer = scorer

    def __call__(
        self,
        prompts: list[str],
        completions: list[str],
        turns: list[list[dict[str, str]]],
        references: list[list[str]],
        **_: Any,
    ) -> list[float]:
        rows = zip(prompts, turns, references, strict=True)
        asked = [Asked.of({"prompt": prompt, "turns": own, "references": wanted}) for prompt, own, wanted in rows]
        return self._scorer(asked, completions)


def make_trainer(setup: Setup) -> Trainer:
    """Return the GRPO trainer of the spec's settings. Raises ConfigError or ModelError for what cannot be learnt so."""
    method = setup.config.method
    return build(setup, method.grpo or GroupRelative(), method.rewards)


def build(setup: Setup, settings: GroupRelative, rewards: Sequence[Reward]) -> GroupTrainer:
    """Return TRL's GRPOTrainer (Shao et al. 2024, arXiv:2402.03300) of the given settings."""
    check_reference(setup)
    check_adapter(setup)
    check_room(setup, settings.max_completion_length)
    deepspeed = setup.config.deepspeed
    if deepspeed is not None and deepspeed.zero_stage == 3 and any(reward.model for reward in rewards):
        raise ConfigError("spec.deepspeed.zeroStage: stage 3 would spread reward models as well; use 2")
    arguments = _arguments(setup, settings, rewards)
    scorers = load_scorers(rewards, storage.model_path, arguments.device)
    trainer = GroupTrainer(
        model=setup.model,
        reward_funcs=[_TRLReward(scorer) for scorer in scorers],
        args=arguments,
        train_dataset=setup.train,
        eval_dataset=dict(setup.validation) or None,
        processing_class=setup.tokenizer,
    )
    if settings.beta:
        settle_reference(trainer, setup)
    return trainer


def _arguments(setup: Setup, settings: GroupRelative, rewards: Sequence[Reward]) -> GRPOConfig:
    config, generations = setup.config, settings.num_generations
    devices = config.workers * max(config.gpus, 1)
    batch, accumulated = config.training.per_device_train_batch_size, config.training.gradient_accumulation_steps
    if refusal := ungrouped(batch, accumulated, devices, generations):
        raise ConfigError(f"spec.method.grpo.numGenerations: {refusal}")
    return GRPOConfig(
        **setup.arguments,
        num_generations=generations,
        # Validation needs whole groups as well: it compares as many answers as fit its batch.
        num_generations_eval=gcd(config.training.per_device_eval_batch_size * devices, generations),
        max_completion_length=settings.max_completion_length,
        temperature=settings.temperature,
        top_p=settings.top_p,
        beta=settings.beta,
        epsilon=settings.epsilon,
        num_iterations=settings.num_iterations,
        loss_type=settings.loss_type,
        reward_weights=[reward.weight for reward in rewards],
        disable_dropout=True,
        remove_unused_columns=False,
    )


GRPO = Recipe(
    task="causal-lm",
    method="grpo",
    accepts=ACCEPTED,
    encode=encode,
    trainer=make_trainer,
)
