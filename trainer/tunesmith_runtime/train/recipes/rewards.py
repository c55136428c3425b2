"""Reward models: a number for an answer, larger for the better one of a pair."""

from collections.abc import Iterator

from trl import RewardConfig, RewardTrainer

from tunesmith_api.training import RewardModelling
from tunesmith_runtime.data.records import Preference, Record
from tunesmith_runtime.train.recipes.preference import answered
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Row, Setup


def encode(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield `chosen_ids` and `rejected_ids`, each with the prompt; nothing when the answers are the same."""
    assert isinstance(record, Preference)  # noqa: S101 - what the recipe accepts
    chosen, _ = answered(record.chosen, encoder.tokenizer)
    rejected, _ = answered(record.rejected, encoder.tokenizer)
    if chosen != rejected:
        yield {"chosen_ids": chosen, "rejected_ids": rejected}


def length(row: Row) -> int:
    """Return the tokens of the longer of the two sequences."""
    return max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def make_trainer(setup: Setup) -> RewardTrainer:
    """Return TRL's RewardTrainer: the Bradley-Terry loss of pairs (Ouyang et al. 2022, arXiv:2203.02155)."""
    settings = setup.config.method.rm or RewardModelling()
    return RewardTrainer(
        model=setup.model,
        args=RewardConfig(
            **setup.arguments,
            center_rewards_coefficient=settings.center_rewards_coefficient,
            disable_dropout=not setup.config.method.adapter.dropout,
            max_length=None,  # no record is too long
        ),
        train_dataset=setup.train,
        eval_dataset=dict(setup.validation) or None,
        processing_class=setup.tokenizer,
    )


RM = Recipe(
    task="causal-lm",
    method="rm",
    accepts=(Preference,),
    encode=encode,
    trainer=make_trainer,
    length=length,
)
