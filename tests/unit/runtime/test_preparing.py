"""Datasets become what is trained and validated on; what is left out is counted."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from tunesmith_api.finetunejob import DataSummary, DroppedRecords, TrainingData
from tunesmith_runtime.data import preparing
from tunesmith_runtime.data.sources import read_training_data
from tunesmith_runtime.errors import DataError

LONG = "the moon " * 60


def prepare(data: TrainingData, tokenizer: PreTrainedTokenizerBase) -> preparing.Prepared:
    return preparing.prepare(data, tokenizer, read_training_data(data))


def dataset(folder: Path, name: str, *texts: str) -> dict[str, Any]:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return {"uri": f"file://{path}", "format": "text"}


def training(folder: Path, *texts: str, **settings: Any) -> TrainingData:
    train = [{"name": "main", **dataset(folder, "main", *texts)}]
    return TrainingData.model_validate_json(json.dumps({"train": train, "maxLength": 32, **settings}))


def decoded(rows: Any, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in rows["input_ids"]]


def test_datasets_are_joined_in_order_and_counted(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    train = [{"name": name, **dataset(tmp_path, name, *texts)} for name, texts in {"b": ["x", "y"], "a": ["z"]}.items()]
    prepared = prepare(TrainingData.model_validate_json(json.dumps({"train": train})), tokenizer)
    assert decoded(prepared.train, tokenizer) == ["x", "y", "z"]
    assert prepared.train.column_names == ["input_ids", "labels"]
    assert prepared.train["labels"] == prepared.train["input_ids"]
    assert prepared.validation is None
    assert prepared.summary == DataSummary(records=3, tokens=6)
    assert prepared.digests == {
        name: hashlib.sha256((tmp_path / f"{name}.jsonl").read_bytes()).hexdigest() for name in "ab"
    }


def test_records_too_long_or_empty_are_left_out_never_cut(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    prepared = prepare(training(tmp_path, "short", LONG, " ", "also short", LONG), tokenizer)
    assert decoded(prepared.train, tokenizer) == ["short", "also short"]
    assert prepared.summary.dropped == DroppedRecords(overlong=2, empty=1)
    assert prepared.summary.tokens == sum(len(ids) for ids in prepared.train["input_ids"])


def test_a_record_of_exactly_max_length_is_kept(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    text = "spider sky sun moon legs earth blue round eight"
    length = len(tokenizer(text).input_ids) + 1  # and the token that ends it
    assert prepare(training(tmp_path, text, "x", maxLength=length), tokenizer).summary.records == 2
    assert prepare(training(tmp_path, text, "x", maxLength=length - 1), tokenizer).summary.records == 1


def test_when_all_are_too_long_the_shortest_is_named(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    shortest = len(tokenizer(LONG).input_ids) + 1
    with pytest.raises(DataError) as raised:
        prepare(training(tmp_path, LONG, LONG + LONG), tokenizer)
    assert raised.value.message == (
        "data.train: no record fits: data.maxLength is 32 tokens and the shortest of 2 has "
        f"{shortest}. Raise data.maxLength or shorten the records"
    )
    assert not raised.value.retryable


def test_a_fraction_is_held_out_by_seed(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [f"text {number}" for number in range(20)]

    def held_out(*texts: str, seed: int = 1) -> list[str]:
        data = training(tmp_path, *texts, validation={"fraction": 0.2}, seed=seed)
        prepared = prepare(data, tokenizer)
        kept, validation = decoded(prepared.train, tokenizer), decoded(prepared.validation, tokenizer)
        assert sorted(kept + validation) == sorted(text for text in texts if text != LONG)
        assert (prepared.summary.records, prepared.summary.validation_records) == (len(kept), len(validation))
        return validation

    first = held_out(*texts)
    assert len(first) == 4
    assert held_out(*texts) == first
    assert held_out(LONG, *texts[:7], LONG, *texts[7:]) == first
    assert sorted(held_out(*reversed(texts))) == sorted(first)
    assert held_out(*texts, seed=2) != first


@pytest.mark.parametrize("fraction", [0.001, 0.5])
def test_each_side_of_a_split_has_a_record(tmp_path: Path, tokenizer: PreTrainedTokenizerBase, fraction: float) -> None:
    summary = prepare(training(tmp_path, "x", "y", validation={"fraction": fraction}), tokenizer).summary
    assert (summary.records, summary.validation_records) == (1, 1)


def test_one_record_cannot_be_split(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(DataError, match=r"data\.validation\.fraction needs at least 2 records and there is 1"):
        prepare(training(tmp_path, "x", LONG, validation={"fraction": 0.5}), tokenizer)


def test_a_validation_dataset_of_its_own(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    own = dataset(tmp_path, "own", "v", LONG, "")
    prepared = prepare(training(tmp_path, "x", "y", validation={"dataset": own}), tokenizer)
    assert decoded(prepared.validation, tokenizer) == ["v"]
    assert prepared.summary == DataSummary(
        records=2, validation_records=1, tokens=4, dropped=DroppedRecords(overlong=1, empty=1)
    )
    assert prepared.digests["validation"] == hashlib.sha256((tmp_path / "own.jsonl").read_bytes()).hexdigest()


def test_a_validation_dataset_all_too_long_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    own = dataset(tmp_path, "own", LONG)
    with pytest.raises(DataError, match=r"data\.validation\.dataset: no record fits: data\.maxLength is 32 tokens"):
        prepare(training(tmp_path, "x", validation={"dataset": own}), tokenizer)
