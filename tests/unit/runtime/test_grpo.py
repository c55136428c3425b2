"""A model learns by GRPO which of its answers are better than the others."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from tests.reinforcing import LETTERS, make_setup, make_toy, train, weights
from tunesmith_api.deepspeed import DeepSpeed
from tunesmith_api.reinforcement import GroupRelative, Reward
from tunesmith_api.training import Adapter
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.recipes.grpo import GRPO, GroupTrainer, build
from tunesmith_runtime.train.rollouts import PromptSampler

REWARDS = (Reward(function=LETTERS), Reward(function="wordCount", weight=-0.01))
# TRL asks for it by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("models") / "toy")


def grpo(toy: Path, folder: Path, settings: dict[str, Any] | None = None, **setup: Any) -> GroupTrainer:
    given = GroupRelative(**{"max_completion_length": 8, "num_generations": 4, **(settings or {})})
    return build(make_setup(toy, folder, GRPO, **setup), given, REWARDS)


def test_rewards_rise(toy: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_steps": 20, "per_device_train_batch_size": 32, "learning_rate": 0.01}
    rewards = [entry["reward"] for entry in train(grpo(toy, tmp_path, {"num_generations": 8}, **options))]
    assert fmean(rewards[:3]) < 0.3
    assert fmean(rewards[-3:]) > 0.6


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_at_learning_rate_0_nothing_changes(toy: Path, tmp_path: Path, adapter: Any) -> None:
    options: dict[str, Any] = {"adapter": Adapter(type=adapter), "max_steps": 2, "learning_rate": 0.0}
    trainer = grpo(toy, tmp_path, {"beta": 0.1}, **options)
    before = weights(trainer)
    logged = train(trainer)
    assert all(torch.equal(value, before[name]) for name, value in weights(trainer).items())
    assert [entry["kl"] for entry in logged] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_run_resumed_amid_a_rollout_equals_an_uninterrupted_one(toy: Path, tmp_path: Path) -> None:
    def make(folder: str) -> GroupTrainer:
        return grpo(
            toy,
            tmp_path / folder,
            {"num_iterations": 2},
            max_steps=9,
            every_steps=3,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            learning_rate=0.01,
            validates=True,
        )

    whole = make("whole")
    expected = train(whole)
    for step, kept in ((3, True), (6, False)):  # amid a rollout of the first epoch, and at a border in the second
        checkpoint = Path(whole.args.output_dir) / f"checkpoint-{step}"
        assert (checkpoint / "rollout-0.safetensors").is_file() == kept
        resumed = make(f"resumed-{step}")
        logged = train(resumed, checkpoint)
        assert [entry["loss"] for entry in logged] == [entry["loss"] for entry in expected]
        after = weights(resumed)
        assert all(torch.equal(value, after[name]) for name, value in weights(whole).items())


def test_what_is_learnt_from_can_be_counted(toy: Path, tmp_path: Path) -> None:
    trainer = grpo(toy, tmp_path, max_steps=2)
    noted: list[dict[str, torch.Tensor]] = []
    trainer.note_batch = noted.append
    train(trainer)
    assert len(noted) == 2
    assert noted[0]["input_ids"].shape == noted[0]["attention_mask"].shape


def test_steps_must_have_whole_groups(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"an optimizer step has 8 sequences .* no multiple of numGenerations 3"):
        grpo(toy, tmp_path, {"num_generations": 3})


def test_vectors_in_front_are_refused(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot train the vectors of prompt-tuning; use lora, ia3 or full"):
        grpo(toy, tmp_path, adapter=Adapter(type="prompt-tuning"))


def test_stage_3_would_spread_reward_models(toy: Path, tmp_path: Path) -> None:
    setup = make_setup(toy, tmp_path, GRPO, deepspeed=DeepSpeed(zero_stage=3))
    with pytest.raises(ConfigError, match=r"stage 3 would spread reward models as well; use 2"):
        build(setup, GroupRelative(num_generations=4), (Reward(model="file:///judge"),))


def test_every_prompt_comes_in_every_epoch_and_in_another_order() -> None:
    epoch = 0
    sampler = PromptSampler(5, prompts=2, copies=2, repeats=3, seed=1, epoch=lambda: epoch)
    first = list(sampler)
    assert len(first) == len(sampler) == 3 * 2 * 2 * 3
    assert set(first) == set(range(5))
    assert first[:4] == first[4:8] == first[8:12]
    assert first[0] == first[1] != first[2] == first[3]
    assert list(sampler) == first
    epoch = 1
    assert list(sampler) != first


def test_fewer_prompts_than_a_rollout_needs_come_more_often() -> None:
    sampler = PromptSampler(2, prompts=5, copies=1, repeats=1, seed=1, epoch=lambda: 0)
    assert sorted(sampler) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])
