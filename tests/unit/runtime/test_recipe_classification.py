"""Classifiers of texts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import BertForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

from tests.unit.runtime import tiny_encoders as tiny
from tunesmith_runtime.data.records import LabelledText
from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.train.recipes import classification
from tunesmith_runtime.train.recipes.recipe import Encoder, Labels, Row

NAMES = ("earth", "sky", "spider")
SINGLE, MULTI, NUMBER = Labels("single", NAMES), Labels("multi", NAMES), Labels("regression", ())
LABELS: dict[str, tuple[Labels, list[str | float | tuple[str, ...]]]] = {
    "single_label_classification": (SINGLE, ["earth", "sky", "spider", "earth"]),
    "multi_label_classification": (MULTI, [("earth", "sky"), ("sky",), (), NAMES]),
    "regression": (NUMBER, [0.5, -100.0, 2, 3.25]),
}


def rows_of(label: str | float | tuple[str, ...], labels: Labels, *, pair: str | None = None) -> list[Row]:
    record = LabelledText("The sky is blue.", pair, label)
    return list(classification.encode(record, Encoder(tiny.wordpiece(), 8, labels)))


def test_a_class_becomes_its_number_and_the_whole_text_is_kept() -> None:
    (row,) = rows_of("sky", SINGLE)
    tokenizer = tiny.wordpiece()
    assert tokenizer.decode(row["input_ids"]) == "[CLS] The sky is blue . [SEP]"
    assert row["labels"] == 1


def test_the_texts_of_a_pair_are_told_apart() -> None:
    (row,) = rows_of("sky", SINGLE, pair="What colour?")
    tokenizer = tiny.wordpiece()
    assert tokenizer.decode(row["input_ids"]) == "[CLS] The sky is blue . [SEP] What colour ? [SEP]"
    second = [token for token, kind in zip(row["input_ids"], row["token_type_ids"], strict=True) if kind]
    assert tokenizer.decode(second) == "What colour ? [SEP]"


def test_several_classes_become_ones() -> None:
    assert rows_of(("sky", "earth"), MULTI)[0]["labels"] == [1.0, 1.0, 0.0]
    assert rows_of((), MULTI)[0]["labels"] == [0.0, 0.0, 0.0]


def test_a_number_stays_one() -> None:
    assert rows_of(2, NUMBER)[0]["labels"] == 2.0


def test_a_class_that_was_not_trained_on_is_refused() -> None:
    with pytest.raises(DataError, match="'sea' is none of the 3"):
        rows_of("sea", SINGLE)


def test_a_label_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match=r"0\.5 is of another kind than those of the training records, which are one"):
        rows_of(0.5, SINGLE)


@pytest.mark.parametrize("problem", LABELS)
def test_losses_equal_those_of_transformers(problem: str, tmp_path: Path) -> None:
    labels, given = LABELS[problem]
    tokenizer = tiny.wordpiece()
    records = [LabelledText(text, None, given[index % 4]) for index, text in enumerate(tiny.TEXTS * 3)]
    rows = tiny.encoded(classification.SFT, records, Encoder(tokenizer, 64, labels))

    def model() -> BertForSequenceClassification:
        options: dict[str, Any] = {"num_labels": max(1, len(labels.names)), "problem_type": problem}
        return tiny.bert(BertForSequenceClassification, **options)

    examples = Dataset.from_dict(
        {"text": [record.text for record in records], "label": [row["labels"] for row in rows]}
    )
    plain = Trainer(
        model=model(),
        args=TrainingArguments(**tiny.arguments(tmp_path)),
        train_dataset=examples.map(
            lambda batch: tokenizer(batch["text"], truncation=True, max_length=64), batched=True
        ),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trainer = classification.SFT.trainer(tiny.setup(tmp_path, model(), tokenizer, rows, labels=labels))
    assert tiny.losses(trainer) == pytest.approx(tiny.losses(plain), rel=1e-6, abs=1e-6)


def test_smoothed_losses_equal_those_of_transformers(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    records = [LabelledText(text, None, NAMES[index % 3]) for index, text in enumerate(tiny.TEXTS)]
    rows = tiny.encoded(classification.SFT, records, Encoder(tokenizer, 64, SINGLE))
    options: dict[str, Any] = {"label_smoothing_factor": 0.1, "max_steps": 3}
    plain = Trainer(
        model=tiny.bert(BertForSequenceClassification, num_labels=3),
        args=TrainingArguments(**tiny.arguments(tmp_path, **options)),
        train_dataset=Dataset.from_list(rows),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trainer = classification.SFT.trainer(
        tiny.setup(
            tmp_path,
            tiny.bert(BertForSequenceClassification, num_labels=3),
            tokenizer,
            rows,
            labels=SINGLE,
            config=tiny.train_run(labelSmoothingFactor=0.1),
            **options,
        )
    )
    assert tiny.losses(trainer) == pytest.approx(tiny.losses(plain), abs=1e-6)


@pytest.mark.parametrize("labels", [MULTI, NUMBER])
def test_labels_that_cannot_be_smoothed_are_refused(labels: Labels, tmp_path: Path) -> None:
    model, tokenizer = tiny.bert(BertForSequenceClassification), tiny.wordpiece()
    rows: list[Row] = [{"input_ids": [2, 3], "labels": 0}]
    setup = tiny.setup(tmp_path, model, tokenizer, rows, labels=labels, config=tiny.train_run(labelSmoothingFactor=0.1))
    with pytest.raises(
        ConfigError, match=r"spec\.training\.labelSmoothingFactor is 0\.1, and labels that are no single"
    ):
        classification.SFT.trainer(setup)


def test_the_class_is_learnt(tmp_path: Path) -> None:
    tokenizer = tiny.wordpiece()
    texts = tiny.TEXTS[:3]
    records = [LabelledText(text, None, name) for text, name in zip(texts * 4, NAMES * 4, strict=True)]
    rows = tiny.encoded(classification.SFT, records, Encoder(tokenizer, 64, SINGLE))
    model = tiny.bert(BertForSequenceClassification, num_labels=3, hidden_size=32, initializer_range=0.2)
    setup = tiny.setup(tmp_path, model, tokenizer, rows, labels=SINGLE, max_steps=30)
    tiny.losses(classification.SFT.trainer(setup))
    with torch.no_grad():
        logits = model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    assert logits.argmax(dim=-1).tolist() == [0, 1, 2]
