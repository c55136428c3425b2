"""A model learns by PPO to write what earns rewards."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from tests.reinforcing import LETTERS, make_setup, make_toy, train, weights
from tunesmith_api.deepspeed import DeepSpeed
from tunesmith_api.reinforcement import ProximalPolicy, Reward
from tunesmith_api.training import Adapter
from tunesmith_runtime.data.records import ASSISTANT, Conversation, Message
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer
from tunesmith_runtime.models.publishing import save_model
from tunesmith_runtime.train.ppo.trainer import PPOTrainer
from tunesmith_runtime.train.recipes.ppo import PPO, build

REWARDS = (Reward(function=LETTERS),)
# PEFT asks for it by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("models") / "toy")


def ppo(toy: Path, folder: Path, settings: dict[str, Any] | None = None, **setup: Any) -> PPOTrainer:
    given = ProximalPolicy(**{"max_completion_length": 8, **(settings or {})})
    return build(make_setup(toy, folder, PPO, **setup), given, REWARDS)


def long_run(toy: Path, folder: Path, coefficient: float) -> list[dict[str, float]]:
    """Return what was logged of each rollout."""
    options: dict[str, Any] = {"max_steps": 72, "per_device_train_batch_size": 32, "learning_rate": 0.01}
    logged = train(ppo(toy, folder, {"kl_coef": coefficient}, **options))
    return [entry for entry in logged if "reward" in entry]


def test_rewards_rise_and_a_penalty_keeps_the_model_near_the_one_it_began_as(toy: Path, tmp_path: Path) -> None:
    free = long_run(toy, tmp_path, coefficient=0.0)
    assert len(free) == 72 / 4
    assert fmean(entry["reward"] for entry in free[:3]) < 0.3
    assert fmean(entry["reward"] for entry in free[-3:]) > 0.6
    kept = long_run(toy, tmp_path, coefficient=1.0)
    assert kept[0]["kl"] == free[0]["kl"] == 0
    assert fmean(entry["kl"] for entry in kept[-3:]) < 0.5 * fmean(entry["kl"] for entry in free[-3:])


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_at_learning_rate_0_nothing_changes(toy: Path, tmp_path: Path, adapter: Any) -> None:
    trainer = ppo(toy, tmp_path, adapter=Adapter(type=adapter), max_steps=6, learning_rate=0.0)
    before = weights(trainer)
    logged = train(trainer)
    assert all(torch.equal(value, before[name]) for name, value in weights(trainer).items())
    assert [entry["kl"] for entry in logged if "kl" in entry] == [0.0, 0.0]
    assert all(entry["approx_kl"] == pytest.approx(0, abs=1e-6) for entry in logged)
    assert all(entry["clip_fraction"] == 0 for entry in logged)


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_a_run_resumed_amid_a_rollout_equals_an_uninterrupted_one(toy: Path, tmp_path: Path, adapter: Any) -> None:
    def make(folder: str) -> PPOTrainer:
        return ppo(
            toy,
            tmp_path / folder,
            {"num_iterations": 2, "num_mini_batches": 2, "whiten_rewards": True},
            adapter=Adapter(type=adapter),
            max_steps=11,
            every_steps=3,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            learning_rate=0.01,
            validates=True,
        )

    whole = make("whole")
    expected = train(whole)
    for step in (3, 6):  # amid the first rollout and, an epoch later, amid the second
        checkpoint = Path(whole.args.output_dir) / f"checkpoint-{step}"
        assert (checkpoint / "rollout-0.safetensors").is_file()
        resumed = make(f"resumed-{step}")
        logged = train(resumed, checkpoint)
        assert [entry["loss"] for entry in logged] == [entry["loss"] for entry in expected]
        after = weights(resumed)
        assert all(torch.equal(value, after[name]) for name, value in weights(whole).items())


def test_a_checkpoint_at_the_border_of_rollouts_holds_none(toy: Path, tmp_path: Path) -> None:
    trainer = ppo(toy, tmp_path, max_steps=4, every_steps=4)
    train(trainer)
    names = {file.name for file in (Path(trainer.args.output_dir) / "checkpoint-4").iterdir()}
    assert "ppo.safetensors" in names
    assert "rollout-0.safetensors" not in names


def test_validation_tells_what_answers_earn(toy: Path, tmp_path: Path) -> None:
    trainer = ppo(toy, tmp_path, max_steps=2, every_steps=1, learning_rate=0.0, validates=True)
    trainer.train()
    losses = [entry for entry in trainer.state.log_history if "eval_heldout_loss" in entry]
    assert len(losses) == 2
    assert losses[0]["eval_heldout_loss"] == pytest.approx(-losses[0]["eval_earned"], abs=1e-5)


def test_the_loss_of_a_step_does_not_depend_on_how_it_is_split(toy: Path, tmp_path: Path) -> None:
    trainer = ppo(
        toy,
        tmp_path,
        {"num_iterations": 1, "num_mini_batches": 3},
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
    )
    rows = [trainer.train_dataset[index % 4] for index in range(12)]
    rollout = trainer._rollout(rows)
    slices = trainer._sliced(rollout)
    assert len(slices) == 6
    for first in range(0, 6, 2):
        parts = slices[first : first + 2]
        joined = {name: torch.cat([part[name] for part in parts]) for name in rollout}
        joined["tokens"] = parts[0]["tokens"]
        assert joined["tokens"] == joined["mask"].sum()
        split = sum(trainer.compute_loss(trainer.model, part) for part in parts)
        assert torch.isclose(split, trainer.compute_loss(trainer.model, joined), atol=1e-6)


def test_an_answer_that_is_cut_off_pays(toy: Path, tmp_path: Path) -> None:
    trainer = ppo(toy, tmp_path, {"missing_eos_penalty": 5.0, "max_completion_length": 2}, max_steps=1)
    logged = train(trainer)[0]
    assert logged["score"] == pytest.approx(logged["reward"] - 5 * logged["completions/clipped_ratio"], abs=1e-5)


def test_what_is_learnt_from_can_be_counted(toy: Path, tmp_path: Path) -> None:
    trainer = ppo(toy, tmp_path, {"num_iterations": 1}, max_steps=2)
    noted: list[dict[str, torch.Tensor]] = []
    trainer.note_batch = noted.append
    train(trainer)
    assert len(noted) == 2
    assert noted[0]["input_ids"].shape == noted[0]["attention_mask"].shape


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_the_policy_is_published_without_its_value_head(toy: Path, tmp_path: Path, adapter: Any) -> None:
    trainer = ppo(toy, tmp_path, adapter=Adapter(type=adapter), max_steps=2, learning_rate=0.01)
    trainer.train()
    ids = torch.tensor([[10, 11, 12]])
    model = trainer.accelerator.unwrap_model(trainer.model).policy.eval()
    with torch.no_grad():
        learnt = model(ids).logits
    save_model(model, load_tokenizer(toy), tmp_path / "out", str(toy))
    loaded = load_causal_lm(tmp_path / "out")
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, learnt, atol=1e-5)
        assert not torch.allclose(loaded(ids).logits, load_causal_lm(toy)(ids).logits, atol=1e-5)
    assert not any("value_head" in name for name in loaded.state_dict())


def test_activations_can_be_computed_again(toy: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"adapter": Adapter(type="lora"), "max_steps": 2, "learning_rate": 0.01}
    kept, again = (
        [entry["loss"] for entry in train(ppo(toy, tmp_path, activation_checkpointing=given, **options))]
        for given in (False, True)
    )
    assert again == pytest.approx(kept, abs=1e-5)


def test_whole_weights_are_needed(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"deepspeed\.zeroStage: method ppo needs whole weights to answer with; use"):
        ppo(toy, tmp_path, deepspeed=DeepSpeed(zero_stage=3))


def test_dropout_is_refused(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"adapter\.dropout: .* dropout would be noise in that; leave it out"):
        ppo(toy, tmp_path, adapter=Adapter(type="lora", dropout=0.1))


def test_vectors_in_front_are_refused(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot train the vectors of prompt-tuning; use lora, ia3 or full"):
        ppo(toy, tmp_path, adapter=Adapter(type="prompt-tuning"))


def test_there_must_be_a_reward(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"spec\.method\.rewards: there is none"):
        build(make_setup(toy, tmp_path, PPO), ProximalPolicy(), ())


def test_answers_must_fit_the_models_positions(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"longest prompt has \d+ tokens, .* more than the model's 512 positions"):
        ppo(toy, tmp_path, {"max_completion_length": 500})


def test_a_conversation_that_begins_with_the_answer_is_passed_over(toy: Path, tmp_path: Path) -> None:
    unasked = Conversation((Message(ASSISTANT, "Hello."),))
    asked = Conversation((Message("user", "Hi."), Message(ASSISTANT, "Hello.")), references=("Hello.", "Hi."))
    setup = make_setup(toy, tmp_path, PPO, records=(unasked, asked))
    assert setup.train["references"][:] == [["Hello.", "Hi."]]
    assert setup.train["prompt"][:] == ["Hi."]
    assert setup.train["turns"][:] == [[{"role": "user", "content": "Hi."}]]
