"""Preferences are learnt as TRL learns them: from the same tokens, against the same reference, also after a resume."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase, Trainer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer

from tests.unit.runtime.preferring import (
    METHODS,
    adapted,
    arguments,
    dataset,
    encoded,
    losses,
    records,
    run,
    trained,
    weights,
)
from tunesmith_api.training import DirectPreference, MethodType
from tunesmith_runtime.data.records import Answerable, Completion, Conversation, Preference, Rated, Record
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.models.loading import load_causal_lm
from tunesmith_runtime.train import recipes
from tunesmith_runtime.train.counting import TokenCounter
from tunesmith_runtime.train.recipes.recipe import Row, Setup

# PEFT and TRL themselves call it by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def setup(tiny_path: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Callable[..., Setup]:
    """Give a function that returns a recipe's Setup."""

    def make(
        method: MethodType,
        adapter: Mapping[str, Any] | str = "lora",
        kind: type[Answerable] = Conversation,
        training: Mapping[str, Any] | None = None,
        **changed: Any,
    ) -> Setup:
        wanted = {"type": adapter} if isinstance(adapter, str) else adapter
        return Setup(
            config=run(tiny_path, {"type": method, "adapter": wanted}, **(training or {})),
            model=adapted(method, wanted, tiny_path),
            tokenizer=tokenizer,
            arguments=arguments(tmp_path / "run", **changed),
            train=dataset(method, encoded(method, records(method, kind), tokenizer)),
        )

    return make


def as_trl_reads_it(record: Record) -> dict[str, Any]:
    """Return the record in TRL's own format."""

    def split(answer: Answerable) -> tuple[Any, Any]:
        if isinstance(answer, Completion):
            return answer.prompt, answer.completion
        turns = [{"role": each.role, "content": each.content} for each in answer.messages]
        return turns[:-1], turns[-1:]

    if isinstance(record, Rated):
        prompt, completion = split(record.answer)
        return {"prompt": prompt, "completion": completion, "label": record.desirable}
    assert isinstance(record, Preference)
    prompt, chosen = split(record.chosen)
    return {"prompt": prompt, "chosen": chosen, "rejected": split(record.rejected)[1]}


def plain_trl(method: MethodType) -> tuple[Any, Any]:
    if method == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer  # warns unless our recipe was imported before

        return ORPOTrainer, ORPOConfig
    known = {"rm": (RewardTrainer, RewardConfig), "dpo": (DPOTrainer, DPOConfig), "kto": (KTOTrainer, KTOConfig)}
    return known[method]


@pytest.mark.parametrize(
    ("method", "kind", "adapter"),
    [
        *((method, Conversation, "lora") for method in METHODS if method != "orpo"),
        *((method, Completion, "full") for method in METHODS),
        ("orpo", Completion, "lora"),  # to a conversation that its template has ended, TRL's ORPO adds another end
    ],
)
def test_steps_are_those_of_plain_trl(
    method: MethodType,
    kind: type[Answerable],
    adapter: str,
    setup: Any,
    tiny_path: Path,
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
) -> None:
    order = {"train_sampling_strategy": "sequential"} if method == "kto" else {}  # TRL's KTO knows no other
    ours = trained(setup(method, adapter, kind, **order))
    make, configure = plain_trl(method)
    plain = make(
        model=adapted(method, {"type": adapter}, tiny_path),
        args=configure(**arguments(tmp_path / "plain", **order)),
        train_dataset=Dataset.from_list([as_trl_reads_it(each) for each in records(method, kind)]),
        processing_class=tokenizer,
    )
    plain.train()
    assert losses(ours) == pytest.approx(losses(plain), abs=1e-6)
    assert abs(losses(ours)[-1] - losses(ours)[0]) > 1e-3
    after = weights(plain.model)
    for name, weight in weights(ours.model).items():
        torch.testing.assert_close(weight, after[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("adapter", ["ia3", "prefix-tuning", "prompt-tuning"])
@pytest.mark.parametrize("method", METHODS)
def test_every_adapter_that_can_learn_does(method: MethodType, adapter: str, setup: Any) -> None:
    if adapter == "prompt-tuning" and method in ("rm", "orpo"):
        return
    made = setup(method, adapter, learning_rate=0.05, max_steps=2)
    before = weights(made.model)
    after = weights(trained(made).model)
    assert after.keys() == before.keys()
    assert any((after[name] != before[name]).any() for name in before)


@pytest.mark.parametrize(
    ("method", "adapter"),
    [*((method, adapter) for method in METHODS for adapter in ("lora", "full")), ("dpo", "prefix-tuning")],
)
def test_a_run_that_goes_on_in_the_midst_of_an_epoch_ends_where_it_would_have(
    method: MethodType, adapter: str, setup: Any, tiny_path: Path, tmp_path: Path
) -> None:
    whole = trained(setup(method, adapter, save_strategy="steps", save_steps=4))
    resumed = trained(setup(method, adapter), resume=tmp_path / "run" / "checkpoint-4")
    assert losses(resumed)[4:] == losses(whole)[4:]
    after = weights(whole.model)
    for name, weight in weights(resumed.model).items():
        assert torch.equal(weight, after[name])
    if method in ("dpo", "kto"):
        compare_with_base(resumed, adapter, tiny_path)


def compare_with_base(trainer: Trainer, adapter: str, path: Path) -> None:
    """Assert that the reference is the model that training began with, and not the checkpoint."""
    if adapter != "full":
        assert list(trainer.model.peft_config) == ["default"]
        assert trainer.ref_model is None
        return
    assert not weights(trainer.ref_model)
    for (name, began), now in zip(load_causal_lm(path).named_parameters(), trainer.ref_model.parameters(), strict=True):
        assert torch.equal(began, now), name
        assert not torch.equal(began, trainer.model.get_parameter(name)) or "norm" in name, name


@pytest.mark.parametrize(("method", "kind"), [("dpo", "lora"), ("kto", "lora"), ("dpo", "prefix-tuning")])
def test_an_adapter_that_goes_on_is_compared_with_what_it_was(
    method: MethodType, kind: str, setup: Any, tiny_path: Path, tmp_path: Path
) -> None:
    trained(setup(method, kind)).model.save_pretrained(tmp_path / "earlier")
    going_on = {"type": kind, "continueFrom": f"file://{tmp_path / 'earlier'}"}
    # At first the model is its reference, whatever the base model is.
    whole = trained(setup(method, going_on, save_strategy="steps", save_steps=4))
    assert losses(whole)[0] == pytest.approx(0.6931 if method == "dpo" else 0.5, abs=1e-3)
    assert list(whole.model.peft_config) == ["default"]
    resumed = trained(setup(method, going_on), resume=tmp_path / "run" / "checkpoint-4")
    assert losses(resumed)[4:] == losses(whole)[4:]


@pytest.mark.parametrize("method", METHODS)
def test_validation_sets_are_measured_by_name(method: MethodType, setup: Any) -> None:
    made = setup(method, max_steps=2, eval_strategy="steps", eval_steps=2)
    trainer = trained(
        replace(made, validation={"held": made.train.select(range(6)), "other": made.train.select([7, 8])})
    )
    measured = {name for entry in trainer.state.log_history for name in entry}
    assert {"eval_held_loss", "eval_other_loss"} <= measured


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_holds_tokens_only_and_each_real_one_is_counted(method: MethodType, setup: Any) -> None:
    made = setup(method, max_steps=1)
    trainer = recipes.find("causal-lm", method).trainer(made)
    counter = TokenCounter(trainer.data_collator)
    trainer.data_collator = counter
    trainer.train()
    batch = counter.collate([trainer.train_dataset[index] for index in range(3)])
    assert all(isinstance(value, torch.Tensor) for value in batch.values())
    assert not {"stream", "length"} & set(batch)
    counter = TokenCounter(counter.collate)
    counter([trainer.train_dataset[index] for index in range(3)])
    rows = [made.train[index] for index in range(3)]
    answers = [name for name in ("chosen_ids", "rejected_ids", "completion_ids") if name in rows[0]]
    assert counter.real == sum(len(row.get("prompt_ids", [])) + len(row[name]) for row in rows for name in answers)
    assert counter.counts.samples == 3


def test_settings_reach_the_trainer(setup: Any, tiny_path: Path) -> None:
    wanted: dict[MethodType, dict[str, Any]] = {
        "rm": {"centerRewardsCoefficient": 0.01},
        "dpo": {"beta": 0.3, "lossType": "robust", "labelSmoothing": 0.1},
        "kto": {"beta": 0.3, "desirableWeight": 2.0, "undesirableWeight": 0.5},
        "orpo": {"beta": 0.3},
    }
    made = {
        method: recipes.find("causal-lm", method).trainer(
            replace(setup(method), config=run(tiny_path, {"type": method, method: settings}))
        )
        for method, settings in wanted.items()
    }
    assert made["rm"].args.center_rewards_coefficient == 0.01
    assert (made["dpo"].beta, made["dpo"].loss_types, made["dpo"].label_smoothing) == (0.3, ["robust"], 0.1)
    assert (made["kto"].beta, made["kto"].desirable_weight, made["kto"].undesirable_weight) == (0.3, 2.0, 0.5)
    assert made["orpo"].beta == 0.3


def test_kto_sees_another_order_in_each_epoch(setup: Any) -> None:
    seen: list[list[int]] = []
    made = setup("kto", num_train_epochs=2, max_steps=-1, learning_rate=0.0)
    trainer = recipes.find("causal-lm", "kto").trainer(made)
    collate = trainer.data_collator

    def noting(examples: list[Row]) -> dict[str, Any]:
        seen.append([len(example["completion_ids"]) for example in examples])
        return collate(examples)

    trainer.data_collator = noting
    trainer.train()
    first, second = seen[:6], seen[6:]
    assert sorted(chain(*first)) == sorted(chain(*second)) == sorted(map(len, made.train["completion_ids"]))
    assert first != second


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_dropout_in_a_comparison_with_the_reference_is_refused(method: MethodType, setup: Any) -> None:
    with pytest.raises(ConfigError, match=r"spec.method.adapter.dropout: method .* would be noise in that; leave it"):
        trained(setup(method, {"dropout": 0.05}))


@pytest.mark.parametrize("method", ["rm", "orpo"])
def test_without_a_reference_dropout_is_what_the_spec_says(method: MethodType, setup: Any) -> None:
    trainer = recipes.find("causal-lm", method).trainer(setup(method, {"dropout": 0.05}))
    assert {each.p for each in trainer.model.modules() if isinstance(each, torch.nn.Dropout)} == {0.05}


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_an_adapter_on_the_output_layer_is_refused(method: MethodType, setup: Any, tiny_path: Path) -> None:
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["lm_head"], ensure_weight_tying=True)
    model = get_peft_model(load_causal_lm(tiny_path, torch.float32), config)
    with pytest.raises(ConfigError, match="an adapter on it would learn nothing; name other modules, or all-linear"):
        trained(replace(setup(method), model=model))


def test_orpo_refuses_vectors_in_front_of_the_input(setup: Any) -> None:
    with pytest.raises(ConfigError, match="prompt-tuning, which lengthen every answer; use lora, ia3, prefix-tuning"):
        trained(setup("orpo", "prompt-tuning"))


def test_kto_refuses_batches_of_one(setup: Any) -> None:
    with pytest.raises(ConfigError, match=r"spec.training.perDeviceTrainBatchSize: .* set it to 2 or more"):
        trained(setup("kto", training={"perDeviceTrainBatchSize": 1}))
    made = setup("kto", training={"perDeviceEvalBatchSize": 1})
    recipes.find("causal-lm", "kto").trainer(made)  # without validation it does not matter
    with pytest.raises(ConfigError, match=r"spec.training.perDeviceEvalBatchSize: .* set it to 2 or more"):
        trained(replace(made, validation={"held": made.train}))


def test_label_smoothing_that_a_loss_would_not_see_is_refused() -> None:
    DirectPreference(loss_type="robust", label_smoothing=0.1)
    with pytest.raises(
        ValidationError, match="labelSmoothing is for lossType robust, and lossType is ipo; leave it out"
    ):
        DirectPreference(loss_type="ipo", label_smoothing=0.1)
