"""Runs whose model writes the answers: what is counted of them, and what a failure among them says."""

from pathlib import Path
from typing import Any

import torch

from tests.reinforcing import LETTERS, make_setup, make_toy, train
from tunesmith_api.reinforcement import ProximalPolicy, Reward
from tunesmith_runtime.errors import DataError, as_run_error
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.counting import TokenCounter
from tunesmith_runtime.train.recipes.ppo import PPO, build
from tunesmith_runtime.train.watching import watch


def test_answers_are_counted_with_their_prompts() -> None:
    counter = TokenCounter(collate=lambda _: {})
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    counter.note({"input_ids": torch.ones_like(mask), "attention_mask": mask})

    assert (counter.counts.samples, counter.real, counter.computed) == (2, 7, 8)
    assert counter.counts.squares == 9 + 16


def test_a_watched_run_says_what_answers_earn(tmp_path: Path, capsys: Any) -> None:
    setup = make_setup(make_toy(tmp_path / "toy"), tmp_path, PPO, max_steps=2, per_device_train_batch_size=2)
    trainer = build(setup, ProximalPolicy(max_completion_length=4), [Reward(function=LETTERS)])
    reporter = ProgressReporter(tmp_path / "progress.json")
    watch(trainer, reporter)

    train(trainer)

    progress = reporter.read().training
    assert progress is not None
    assert progress.step == 2
    assert progress.samples_per_second
    last = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step=2 ")]
    assert " reward=" in last[0]
    assert " kl=" in last[0]
    assert last[0].count("loss=") == 1 + last[0].count("_loss=")


def test_an_error_that_was_raised_from_itself_is_still_explained() -> None:
    error = ValueError("odd")
    error.__cause__ = error
    assert as_run_error(error).message == "ValueError: odd"

    known = DataError("a dataset has changed")
    error.__cause__ = known
    known.__context__ = error
    assert as_run_error(error) is known
