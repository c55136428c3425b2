"""Proximal policy optimisation: the model writes answers and learns from their rewards."""

from collections.abc import Sequence

from transformers import Trainer, TrainingArguments
from trl.trainer.utils import disable_dropout_in_model

from tunesmith_api.reinforcement import ProximalPolicy, Reward
from tunesmith_runtime import storage
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.ppo.trainer import PPOTrainer
from tunesmith_runtime.train.recipes.preference import check_reference
from tunesmith_runtime.train.recipes.prompts import ACCEPTED, check_adapter, check_room, encode
from tunesmith_runtime.train.recipes.recipe import Recipe, Setup
from tunesmith_runtime.train.rewards import load_scorers, total


def make_trainer(setup: Setup) -> Trainer:
    """Return the PPO trainer of the spec's settings. Raises ConfigError or ModelError for what cannot be learnt so."""
    method = setup.config.method
    return build(setup, method.ppo or ProximalPolicy(), method.rewards)


def build(setup: Setup, settings: ProximalPolicy, rewards: Sequence[Reward]) -> PPOTrainer:
    """Return the PPO trainer of the given settings."""
    deepspeed = setup.config.deepspeed
    if deepspeed is not None and deepspeed.zero_stage == 3:
        raise ConfigError("spec.deepspeed.zeroStage: method ppo needs whole weights to answer with; use 2")
    check_reference(setup)
    check_adapter(setup)
    check_room(setup, settings.max_completion_length)
    # Answers are written without dropout, and ratios of probabilities must be of the same network.
    disable_dropout_in_model(setup.model)
    arguments = TrainingArguments(**setup.arguments, remove_unused_columns=False)
    scorers = load_scorers(rewards, storage.model_path, arguments.device)
    return PPOTrainer(
        model=setup.model,
        args=arguments,
        settings=settings,
        rewarding=lambda asked, answers: total(scorers, asked, answers),
        train_dataset=setup.train,
        eval_dataset=dict(setup.validation) or None,
        processing_class=setup.tokenizer,
    )


PPO = Recipe(
    task="causal-lm",
    method="ppo",
    accepts=ACCEPTED,
    encode=encode,
    trainer=make_trainer,
)
