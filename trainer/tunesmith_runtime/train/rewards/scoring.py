"""Answers get their rewards: numbers that are checked before anything is learnt from them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunesmith_api.reinforcement import Reward
from tunesmith_runtime.data.records import ASSISTANT, Answerable, Completion, Conversation, Message
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.rewards.functions import RewardFunction, find
from tunesmith_runtime.train.rewards.models import RewardModel, load_reward_model

# The role of a prompt that is raw text and no conversation.
RAW = ""


@dataclass(frozen=True)
class Asked:
    """What was asked: the text that functions see, the turns that reward models see, the accepted answers."""

    prompt: str
    turns: tuple[Message, ...]
    references: tuple[str, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Asked":
        """Return what a row of `prompts.encode` asks."""
        turns = tuple(Message(turn["role"], turn["content"]) for turn in row["turns"])
        return cls(row["prompt"], turns, tuple(row["references"]))

    def answered(self, answer: str) -> Answerable:
        """Return the record that it makes with an answer."""
        if self.turns[0].role == RAW:
            return Completion(self.turns[0].content, answer)
        return Conversation((*self.turns, Message(ASSISTANT, answer)))


@dataclass(frozen=True)
class Scorer:
    """One reward: its name, its weight, and what computes it."""

    name: str
    weight: float
    compute: Callable[[Sequence[Asked], Sequence[str]], Sequence[float]]

    def __call__(self, asked: Sequence[Asked], answers: Sequence[str]) -> list[float]:
        """Return the reward of each answer, without the weight.

        Raises ConfigError, naming the reward, unless there is a finite number for each answer.
        """
        try:
            values = [float(value) for value in self.compute(asked, answers)]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"spec.method.rewards: {self.name} fails on answers: {error}") from error
        if len(values) != len(answers):
            raise ConfigError(
                f"spec.method.rewards: {self.name} returned {len(values)} rewards for {len(answers)} answers; it must "
                "return a number for each"
            )
        for value, answer in zip(values, answers, strict=True):
            if not math.isfinite(value):
                raise ConfigError(f"spec.method.rewards: {self.name} returned {value} for the answer {answer[:200]!r}")
        return values


def load_scorers(rewards: Sequence[Reward], path: Callable[[str], Path], device: torch.device) -> list[Scorer]:
    """Return the rewards; `path` finds the folder of a model. Raises ConfigError or ModelError for one that is not."""
    if not rewards:
        raise ConfigError("spec.method.rewards: there is none, so that nothing can be learnt; give a model or function")
    return [Scorer(reward.name, reward.weight, _compute(reward, path, device)) for reward in rewards]


def total(scorers: Sequence[Scorer], asked: Sequence[Asked], answers: Sequence[str]) -> list[float]:
    """Return the weighted sum of all rewards of each answer."""
    columns = [[scorer.weight * value for value in scorer(asked, answers)] for scorer in scorers]
    return [sum(values) for values in zip(*columns, strict=True)]


def _compute(
    reward: Reward, path: Callable[[str], Path], device: torch.device
) -> Callable[[Sequence[Asked], Sequence[str]], Sequence[float]]:
    if reward.model is not None:
        return _by_model(load_reward_model(path(reward.model), device))
    assert reward.function is not None  # noqa: S101 - one of the two is set
    return _by_function(find(reward.function))


def _by_model(model: RewardModel) -> Callable[[Sequence[Asked], Sequence[str]], Sequence[float]]:
    return lambda asked, answers: model([each.answered(answer) for each, answer in zip(asked, answers, strict=True)])


def _by_function(function: RewardFunction) -> Callable[[Sequence[Asked], Sequence[str]], Sequence[float]]:
    return lambda asked, answers: function(
        [each.prompt for each in asked], list(answers), [list(each.references) for each in asked]
    )
