"""Masked language models: whole words are hidden, others in each epoch, and the model learns to fill them in."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from transformers import (
    DataCollatorForTokenClassification,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tunesmith_runtime.data.records import PlainText, Record
from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.train.recipes.heads import HeadTrainer, token_losses
from tunesmith_runtime.train.recipes.masking import NO_WORD, MaskedRows, number_words
from tunesmith_runtime.train.recipes.offsets import check_offsets
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Row, Setup


def encode(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield the text cut into windows of at most `max_length` tokens, each with its special tokens.

    `word_ids` numbers the word of each token, -1 for special tokens. A text without tokens yields nothing. Raises
    ModelError when the tokenizer has no mask token or no offsets.
    """
    assert isinstance(record, PlainText)  # noqa: S101 - what the recipe accepts
    check_offsets(encoder.tokenizer)
    if encoder.tokenizer.mask_token_id is None:
        raise ModelError(
            f"{encoder.tokenizer.name_or_path}: its tokenizer has no mask token, so there is nothing to hide words "
            "behind; use a masked language model, or leave model.task out for the model's own task"
        )
    windows = encoder.tokenizer(
        record.text,
        truncation=True,
        max_length=encoder.max_length,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )
    for index, ids in enumerate(windows["input_ids"]):
        special = windows["special_tokens_mask"][index]
        runs = [NO_WORD if hidden else run for run, hidden in zip(windows.word_ids(index), special, strict=True)]
        words = number_words(record.text, runs, windows["offset_mapping"][index])
        if any(word != NO_WORD for word in words):
            yield {"input_ids": ids, "word_ids": words}


class _NewMasks(TrainerCallback):
    """Masks other words in each epoch."""

    def __init__(self, rows: MaskedRows) -> None:
        self._rows = rows

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the rows which epoch this is; after a resume, `state.epoch` is somewhere within it."""
        self._rows.epoch = int(state.epoch or 0)


def make_trainer(setup: Setup) -> HeadTrainer:
    """Return a Trainer on the mean cross entropy over masked tokens; those of the validation data stay the same."""
    seed = setup.config.training.seed
    train = MaskedRows(setup.train, setup.tokenizer, seed)
    trainer = HeadTrainer(
        setup,
        DataCollatorForTokenClassification(setup.tokenizer),
        token_losses(setup),
        train=train,
        validation={name: MaskedRows(rows, setup.tokenizer, seed) for name, rows in setup.validation.items()},
    )
    trainer.add_callback(_NewMasks(train))
    return trainer


PT = Recipe(task="masked-lm", method="pt", accepts=(PlainText,), encode=encode, trainer=make_trainer)
SFT = replace(PT, method="sft")
