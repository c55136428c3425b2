"""Masked language models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import (
    BertForMaskedLM,
    DataCollatorForTokenClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from tests.tiny import make_tiny_tokenizer
from tests.unit.runtime import tiny_encoders as tiny
from tunesmith_runtime.data.records import PlainText
from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.train.recipes import masked
from tunesmith_runtime.train.recipes.masking import NO_WORD, MaskedRows, choose_words, number_words
from tunesmith_runtime.train.recipes.recipe import Encoder, Row

SENTENCE = "The spider goes round Berlin, again."
TOKENIZERS = [tiny.wordpiece, tiny.byte_level, tiny.sentencepiece]


def rows_of(texts: list[str], tokenizer: PreTrainedTokenizerFast, max_length: int = 64) -> list[Row]:
    return tiny.encoded(masked.PT, [PlainText(text) for text in texts], Encoder(tokenizer, max_length))


def words_of(text: str, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    (row,) = rows_of([text], tokenizer)
    numbers = sorted({number for number in row["word_ids"] if number != NO_WORD})
    joined = (
        "".join(
            tokenizer.convert_ids_to_tokens(token)
            for token, word in zip(row["input_ids"], row["word_ids"], strict=True)
            if word == number
        )
        for number in numbers
    )
    return [word.replace("##", "").strip("▁Ġ") for word in joined]


@pytest.mark.parametrize("make", [tiny.wordpiece, tiny.byte_level])
def test_words_are_those_of_the_tokenizer(make: Callable[[], PreTrainedTokenizerFast]) -> None:
    words = words_of(SENTENCE, make())
    assert words == ["The", "spider", "goes", "round", "Berlin", ",", "again", "."]


@pytest.mark.parametrize("make", [tiny.sentencepiece, tiny.undivided, lambda: tiny.byte_level(trim_offsets=False)])
def test_no_word_has_a_space_in_it(make: Callable[[], PreTrainedTokenizerFast]) -> None:
    words = words_of("The moon goes round the earth", make())
    assert words == ["The", "moon", "goes", "round", "the", "earth"]


def test_a_run_too_long_for_a_word_is_masked_token_by_token() -> None:
    offsets = [(place, place + 1) for place in range(20)]
    assert number_words("x" * 20, [0] * 20, offsets) == list(range(20))
    assert number_words("x" * 16, [0] * 16, offsets[:16]) == [0] * 16


@pytest.mark.parametrize("make", TOKENIZERS)
def test_a_long_text_is_cut_into_windows_that_lose_nothing(make: Callable[[], PreTrainedTokenizerFast]) -> None:
    tokenizer = make()
    text = " ".join(tiny.TEXTS[:4])
    rows = rows_of([text], tokenizer, max_length=16)
    assert len(rows) > 3
    assert all(row["input_ids"][0] == tokenizer.cls_token_id for row in rows)
    assert all(row["input_ids"][-1] == tokenizer.sep_token_id and len(row["input_ids"]) <= 16 for row in rows)
    joined = [token for row in rows for token in row["input_ids"][1:-1]]
    assert joined == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_text_without_tokens_teaches_nothing() -> None:
    assert rows_of(["  "], tiny.wordpiece()) == []


def test_a_tokenizer_without_mask_token_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no mask token.*use a masked language model"):
        rows_of(["text"], make_tiny_tokenizer(tiny.TEXTS))


@pytest.mark.parametrize("make", TOKENIZERS)
def test_whole_words_are_masked(make: Callable[[], PreTrainedTokenizerFast]) -> None:
    tokenizer = make()
    (row,) = rows_of([" ".join(tiny.TEXTS[:3])], tokenizer, max_length=400)
    words = np.array(row["word_ids"])
    for seed in range(20):
        labels = np.array(MaskedRows(Dataset.from_list([row]), tokenizer, seed)[0]["labels"])
        chosen = set(words[labels != -100])
        assert NO_WORD not in chosen
        assert np.array_equal(labels != -100, np.isin(words, list(chosen)))
        assert (labels[labels != -100] == np.array(row["input_ids"])[labels != -100]).all()


def test_fifteen_percent_of_the_tokens_are_masked_and_shown_in_three_ways() -> None:
    tokenizer = tiny.wordpiece()
    rows = Dataset.from_list(rows_of([" ".join(tiny.TEXTS[:4])] * 200, tokenizer, max_length=512))
    originals = np.array(rows["input_ids"])
    masked_rows = MaskedRows(rows, tokenizer, seed=1)
    shown = np.array([masked_rows[index]["input_ids"] for index in range(len(rows))])
    wanted = np.array([masked_rows[index]["labels"] for index in range(len(rows))]) != -100
    ordinary = originals.shape[1] - 2
    assert (wanted.sum(axis=1) == round(0.15 * ordinary)).mean() > 0.9
    assert (wanted.sum(axis=1) <= round(0.15 * ordinary)).all()
    as_mask = (shown == tokenizer.mask_token_id)[wanted].mean()
    as_is = (shown == originals)[wanted].mean()
    assert as_mask == pytest.approx(0.8, abs=0.03)
    assert as_is == pytest.approx(0.1, abs=0.03)
    assert (shown == originals)[~wanted].all()
    others = shown[wanted & (shown != tokenizer.mask_token_id)]
    assert not set(others.tolist()) & set(tokenizer.all_special_ids)


def test_a_short_text_has_one_word_masked() -> None:
    words = np.array([NO_WORD, 0, 0, 0, 1, 1, NO_WORD])
    for seed in range(10):
        wanted = choose_words(words, np.random.default_rng(seed))
        assert wanted.tolist() in ([False, True, True, True, *[False] * 3], [*[False] * 4, True, True, False])


def test_other_words_are_masked_in_each_epoch_and_the_same_by_each_process() -> None:
    tokenizer = tiny.wordpiece()
    rows = Dataset.from_list(rows_of(tiny.TEXTS, tokenizer))
    here, there = (MaskedRows(rows, tokenizer, seed=1) for _ in range(2))
    first = [here[index] for index in range(len(rows))]
    torch.rand(10)
    assert [there[index] for index in reversed(range(len(rows)))] == first[::-1]
    there.epoch = 1
    assert [there[index] for index in range(len(rows))] != first
    assert here[0]["labels"] != here[4]["labels"]  # the same text, seen twice in an epoch


def test_losses_equal_those_of_transformers_on_the_same_masks(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    rows = rows_of(tiny.TEXTS * 3, tokenizer)
    setup = tiny.setup(tmp_path, tiny.bert(BertForMaskedLM), tokenizer, rows)
    fixed = MaskedRows(setup.train, tokenizer, setup.config.training.seed)
    plain = Trainer(
        model=tiny.bert(BertForMaskedLM),
        args=TrainingArguments(**tiny.arguments(tmp_path)),
        train_dataset=Dataset.from_list([fixed[index] for index in range(len(fixed))]),
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    assert tiny.losses(masked.PT.trainer(setup)) == pytest.approx(tiny.losses(plain), abs=1e-6)


@pytest.mark.parametrize("stop", [3, 4, 6])
def test_a_resumed_run_ends_with_the_same_weights(stop: int, tmp_path: Path) -> None:
    # Four steps to an epoch: the breaks are within the first one, after it, and within the second.
    tokenizer = tiny.wordpiece()
    rows = rows_of(tiny.TEXTS, tokenizer)

    def trainer() -> Trainer:
        model = tiny.bert(BertForMaskedLM, dropout=0.1)
        options: dict[str, Any] = {"save_strategy": "steps", "save_steps": stop, "max_steps": 9}
        return masked.SFT.trainer(tiny.setup(tmp_path, model, tokenizer, rows, **options))

    whole, resumed = trainer(), trainer()
    expected = tiny.losses(whole)
    assert tiny.losses(resumed, tmp_path / f"checkpoint-{stop}") == expected
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weight), name


def test_validation_is_masked_the_same_each_time(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    rows = rows_of(tiny.TEXTS, tokenizer)
    trainer = masked.PT.trainer(
        tiny.setup(tmp_path, tiny.bert(BertForMaskedLM), tokenizer, rows, validation={"validation": rows}, max_steps=6)
    )
    tiny.quiet(trainer)
    before = trainer.evaluate()["eval_validation_loss"]
    assert trainer.evaluate()["eval_validation_loss"] == before
    trainer.train()
    assert trainer.evaluate()["eval_validation_loss"] < before
