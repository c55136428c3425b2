"""Kahneman-Tversky optimisation: the model learns from single answers that were wanted or not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets
from trl import KTOConfig, KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from tunesmith_api.training import KahnemanTversky
from tunesmith_runtime.data.records import Rated, Record
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.recipes.preference import (
    answered,
    check_reference,
    copying_adapter,
    reference_model,
    settle_reference,
    start,
)
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Row, Setup


def encode(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield `prompt_ids`, `completion_ids` and `label`, whether the answer is wanted."""
    assert isinstance(record, Rated)  # noqa: S101 - what the recipe accepts
    ids, prompt = answered(record.answer, encoder.tokenizer)
    yield {
        "prompt_ids": ids[:prompt] or start(encoder.tokenizer),
        "completion_ids": ids[prompt:],
        "label": record.desirable,
    }


def length(row: Row) -> int:
    """Return the tokens of the prompt and its answer."""
    return len(row["prompt_ids"]) + len(row["completion_ids"])


@dataclass
class MismatchingCollator(DataCollatorForUnpairedPreference):
    """TRL's collator, which also puts each prompt with the answer of the example before it in the batch.

    How likely the model finds such answers, against the reference, is what KTO estimates its divergence from. TRL
    itself writes them into the dataset, for batches whose order never changes. A batch of one, such as the last of an
    epoch may be, has no other answer than its own.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch with `KL_input_ids`, `KL_attention_mask` and `KL_completion_mask`."""
        answers = [example["completion_ids"] for example in examples]
        others = [answers[-1], *answers[:-1]]
        paired = [{**example, "KL_completion_ids": other} for example, other in zip(examples, others, strict=True)]
        batch: dict[str, Any] = super().torch_call(paired)
        return batch


class _KahnemanTverskyTrainer(KTOTrainer):
    """TRL's trainer over rows of tokens, which need no preparation."""

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: object) -> datasets.Dataset:
        return dataset


def make_trainer(setup: Setup) -> KTOTrainer:
    """Return TRL's KTOTrainer (Ethayarajh et al. 2024, arXiv:2402.01306), which sees the rows in random order.

    Raises ConfigError for an adapter that cannot learn by it, and for batches of one.
    """
    check_reference(setup)
    _check_batches(setup)
    settings = setup.config.method.kto or KahnemanTversky()
    order = setup.arguments.get("train_sampling_strategy", "random")
    with copying_adapter():
        trainer = _KahnemanTverskyTrainer(
            model=setup.model,
            ref_model=reference_model(setup),
            args=KTOConfig(
                **{**setup.arguments, "train_sampling_strategy": "sequential"},
                beta=settings.beta,
                desirable_weight=settings.desirable_weight,
                undesirable_weight=settings.undesirable_weight,
                max_length=None,  # no record is too long
            ),
            train_dataset=setup.train,
            eval_dataset=dict(setup.validation) or None,
            processing_class=setup.tokenizer,
            data_collator=MismatchingCollator(setup.tokenizer.pad_token_id),
        )
    # TRL refuses any order but that of its own mismatched answers; the collator's follow the batches.
    trainer.args.train_sampling_strategy = order
    settle_reference(trainer, setup)
    return trainer


def _check_batches(setup: Setup) -> None:
    training = setup.config.training
    sizes = {"perDeviceTrainBatchSize": training.per_device_train_batch_size}
    if setup.validation:
        sizes["perDeviceEvalBatchSize"] = training.per_device_eval_batch_size
    for name, size in sizes.items():
        if size < 2:
            raise ConfigError(
                f"spec.training.{name}: method kto measures each answer against the other answers of its batch, and "
                "batches of 1 have none; set it to 2 or more"
            )


KTO = Recipe(
    task="causal-lm",
    method="kto",
    accepts=(Rated,),
    encode=encode,
    trainer=make_trainer,
    length=length,
)
