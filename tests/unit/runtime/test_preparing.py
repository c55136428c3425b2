"""Datasets become what is trained and validated on; what is left out is counted."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from tests.numbered import DPO, SFT, Records, completion, encode, prepare, text, texts, training
from tunesmith_api.data import TrainingData
from tunesmith_api.finetunejob import DataSummary, DroppedRecords
from tunesmith_runtime.data import preparing
from tunesmith_runtime.data.records import (
    Completion,
    Conversation,
    LabelledText,
    Message,
    PlainText,
    Preference,
    Record,
)
from tunesmith_runtime.data.sources import read_training_data
from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.train.recipes.recipe import Labels

LONG = text(*range(20))


def firsts(rows: Iterable[list[int]]) -> list[int]:
    return [row[0] for row in rows]


def test_datasets_are_joined_in_order_and_counted(tmp_path: Path) -> None:
    prepared = prepare(training("b", "a"), tmp_path, texts(2), replace(texts(1, first=200), digest="d2"))
    assert prepared.train["input_ids"][:] == [[100, 1], [101, 1], [200, 1]]
    assert prepared.train["labels"][:] == prepared.train["input_ids"][:]
    assert prepared.train["length"][:] == [2, 2, 2]
    assert prepared.train["stream"][:] == [0, 0, 1]
    assert prepared.validation == {}
    assert (prepared.summary.records, prepared.summary.tokens) == (3, 6)
    assert prepared.digests == {"b": "d1", "a": "d2"}


def test_rows_are_mapped_from_a_file_and_not_held_in_memory(tmp_path: Path) -> None:
    prepared = prepare(training("a"), tmp_path, texts(2500))
    assert [Path(each["filename"]) for each in prepared.train.cache_files] == [tmp_path / "rows.arrow"]
    assert len(prepared.train) == 2500
    assert prepared.train.features["input_ids"].feature.dtype == "int32"


def test_records_with_nothing_to_learn_from_are_left_out_and_counted(tmp_path: Path) -> None:
    records = Records([text(1, 2), completion("1 2", ""), LONG, text(3, 4)], empty=2)
    prepared = prepare(training("a"), tmp_path, records)
    assert prepared.train["input_ids"][:] == [[1, 2], [3, 4]]
    assert prepared.summary.dropped == DroppedRecords(overlong=1, empty=3)


def test_a_dataset_of_which_nothing_is_left_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        prepare(training("a", "b"), tmp_path, texts(2), Records([completion("1", "")], empty=2))
    assert raised.value.message == (
        "data.train: dataset b: no record is left: 3 had nothing to learn from. Leave the dataset out, or change its "
        "records"
    )


def test_the_summary_counts_everything(tmp_path: Path) -> None:
    data = training("a", "b", validation={"dataset": {"uri": "pvc://d/v", "format": "text"}})
    own = Records([text(7, 8), LONG], empty=1, digest="dv")
    prepared = prepare(data, tmp_path, Records([text(1, 2), LONG], empty=1), texts(3, 5), validation=own)
    assert prepared.summary == DataSummary(
        records=4,
        validation_records=1,
        tokens=17,
        dropped=DroppedRecords(overlong=2, empty=2),
        datasets=prepared.summary.datasets,
    )
    assert prepared.validation["validation"]["input_ids"][:] == [[7, 8]]
    assert prepared.digests == {"a": "d1", "b": "d1", "validation": "dv"}


def test_a_validation_dataset_all_too_long_is_refused(tmp_path: Path) -> None:
    data = training("a", validation={"dataset": {"uri": "pvc://d/v", "format": "text"}})
    with pytest.raises(DataError, match=r"data\.validation\.dataset: no record fits: data\.maxLength is 8 tokens"):
        prepare(data, tmp_path, texts(1), validation=Records([LONG]))


def test_a_fraction_is_held_out_by_seed(tmp_path: Path) -> None:
    def held(*records: Record, seed: int = 1) -> list[int]:
        data = training("a", validation={"fraction": 0.2}, seed=seed)
        prepared = prepare(data, tmp_path, Records(records))
        kept, held = firsts(prepared.train["input_ids"]), firsts(prepared.validation["validation"]["input_ids"])
        assert sorted(kept + held) == list(range(100, 120))
        assert (prepared.summary.records, prepared.summary.validation_records) == (len(kept), len(held))
        return held

    records = texts(20).records
    first = held(*records)
    assert len(first) == 4
    assert held(*records) == first
    assert held(LONG, *records[:7], LONG, *records[7:]) == first
    assert held(*reversed(records)) == first[::-1]
    assert held(*records, seed=2) != first


def test_a_fraction_is_held_out_of_each_dataset(tmp_path: Path) -> None:
    data = training("a", "b", validation={"fraction": 0.1})
    prepared = prepare(data, tmp_path, texts(90), texts(10, first=200))
    assert {name: len(rows) for name, rows in prepared.validation.items()} == {"a": 9, "b": 1}
    assert all(first >= 200 for first in firsts(prepared.validation["b"]["input_ids"]))
    assert prepared.summary.validation_records == 10
    assert [each.records for each in prepared.summary.datasets] == [81, 9]


def test_all_parts_of_a_record_are_on_one_side(tmp_path: Path) -> None:
    records = Records([text(*range(number, number + 20)) for number in range(100, 1100, 100)])
    data = training("a", validation={"fraction": 0.3}, overlong="split")
    prepared = prepare(data, tmp_path, records)
    held = [first // 100 for first in firsts(prepared.validation["validation"]["input_ids"])]
    assert len(held) == 9
    assert len(set(held)) == 3
    assert not set(held) & {first // 100 for first in firsts(prepared.train["input_ids"])}
    assert (prepared.summary.records, prepared.summary.validation_records, prepared.summary.split) == (7, 3, 10)


@pytest.mark.parametrize("fraction", [0.001, 0.5])
def test_each_side_of_a_split_has_a_record(tmp_path: Path, fraction: float) -> None:
    summary = prepare(training("a", validation={"fraction": fraction}), tmp_path, texts(2)).summary
    assert (summary.records, summary.validation_records) == (1, 1)


def test_one_record_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"data\.validation\.fraction needs at least 2 records of each dataset and there is 1 of b"
    ):
        prepare(training("a", "b", validation={"fraction": 0.5}), tmp_path, texts(5), Records([text(1, 2), LONG]))


@pytest.mark.parametrize("dataset", ["training", "validation"])
def test_records_that_the_method_does_not_learn_from_are_refused(tmp_path: Path, dataset: str) -> None:
    pair = Preference(Completion("1", "2"), Completion("1", "3"))
    data = training("a", validation={"dataset": {"uri": "pvc://d/v", "format": "text"}})
    train, own = (texts(1), Records([pair])) if dataset == "validation" else (Records([pair]), texts(1))
    with pytest.raises(DataError) as raised:
        prepare(data, tmp_path, train, validation=own)
    place = "data.validation.dataset" if dataset == "validation" else "data.train: dataset a"
    assert raised.value.message == (
        f"{place} is of format text, which gives pairs of a better and a worse answer, and method sft of task "
        "causal-lm learns from plain texts or prompts with completions; use a dataset of another format, or another "
        "method"
    )


def test_the_classes_are_those_of_all_training_records(tmp_path: Path) -> None:
    def labels(records: Iterable[Record]) -> Labels:
        names = {str(each.label) for each in records if isinstance(each, LabelledText)}
        return Labels("single", tuple(sorted(names)))

    recipe = replace(
        SFT,
        accepts=(LabelledText,),
        labels=labels,
        is_plain=False,
        encode=lambda record, encoder: iter(
            [{"input_ids": [1, 2], "labels": encoder.labels.names.index(record.label)}]  # type: ignore[union-attr]
        ),
    )
    train = [Records([LabelledText("x", None, label) for label in names]) for names in (("no", "yes"), ("maybe",))]
    prepared = prepare(training("a", "b"), tmp_path, *train, recipe=recipe)
    assert prepared.labels == Labels("single", ("maybe", "no", "yes"))
    assert prepared.train["labels"][:] == [1, 2, 0]


def test_packing_is_refused_for_records_that_are_compared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        prepare(training("a", packing="bfd"), tmp_path, texts(1), recipe=DPO)
    assert raised.value.message == (
        "data.packing: bfd joins records to longer sequences, which is for method sft or pt of task causal-lm, and "
        "this is method dpo of task causal-lm; set it to none"
    )


def test_files_of_records_are_read_and_tokenised(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "the moon"}\n{"text": " "}\n')
    data = TrainingData.model_validate_json(
        json.dumps({"train": [{"name": "a", "uri": f"file://{tmp_path}/a.jsonl", "format": "text"}]})
    )
    recipe = replace(
        SFT,
        accepts=(PlainText, Conversation),
        encode=lambda record, encoder: (
            iter([{"input_ids": ids, "labels": ids}])
            if isinstance(record, PlainText) and (ids := encoder.tokenizer(record.text).input_ids)
            else iter([])
        ),
    )
    prepared = preparing.prepare(data, recipe, tokenizer, read_training_data(data), tmp_path / "rows")
    assert tokenizer.decode(prepared.train["input_ids"][0]) == "the moon"
    assert prepared.summary.dropped == DroppedRecords(empty=1)


def test_quality_steps_are_counted(tmp_path: Path) -> None:
    words = "the moon goes round the earth and the earth goes round the sun"
    records = Records([PlainText(words), PlainText(words.upper()), PlainText("short")])
    recipe = replace(SFT, encode=lambda record, encoder: encode(text(1, 2), encoder))
    data = training("a", quality={"deduplicate": "exact", "minCharacters": 10})
    summary = prepare(data, tmp_path, records, recipe=recipe).summary
    assert summary.records == 1
    assert summary.dropped == DroppedRecords(duplicates=1, too_short=1)


def test_records_of_an_evaluation_set_are_left_out_and_the_set_is_part_of_the_lineage(tmp_path: Path) -> None:
    exam = tmp_path / "exam.jsonl"
    exam.write_text(json.dumps({"text": "1 2 3 4 5"}) + "\n")
    against = [{"uri": f"file://{exam}", "format": "text"}]
    data = training("a", quality={"decontaminateAgainst": against, "decontaminationNgram": 4})
    prepared = prepare(data, tmp_path, Records([text(0, 1, 2, 3, 4), text(4, 3, 2, 1)]))
    assert prepared.train["input_ids"][:] == [[4, 3, 2, 1]]
    assert prepared.summary.dropped == DroppedRecords(contaminated=1)
    assert prepared.digests["decontaminateAgainst[0]"] == hashlib.sha256(exam.read_bytes()).hexdigest()


def test_a_dataset_that_cleaning_leaves_nothing_of_is_named(tmp_path: Path) -> None:
    data = training("a", "b", quality={"deduplicate": "exact"})
    with pytest.raises(DataError) as raised:
        prepare(data, tmp_path, texts(2), texts(2))
    assert raised.value.message == (
        "data.train: dataset b: no record is left: 0 had nothing to learn from, and data.quality took out 2. Leave the "
        "dataset out, or change data.quality"
    )


def test_messages_are_no_text_of_numbers(tmp_path: Path) -> None:
    record = Conversation((Message("user", "1"), Message("assistant", "2")))
    with pytest.raises(DataError, match="which gives conversations, and method sft"):
        prepare(training("a"), tmp_path, Records([record]))
