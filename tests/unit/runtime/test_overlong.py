"""Records longer than maxLength are left out, cut off or cut into several, and each is counted."""

from pathlib import Path
from typing import Any, Literal

import pytest

from tests.numbered import DPO, PT, SFT, Records, completion, prepare, text, training
from tunesmith_api.finetunejob import DataSummary, DroppedRecords
from tunesmith_runtime.data.overlong import Overlong, Policy, policy_of
from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.train.recipes.recipe import Recipe, Row

TWENTY = text(*range(1, 21))


def fit(policy: Policy, *rows: Row) -> tuple[list[Any], Overlong]:
    overlong = Overlong(8, policy, lambda row: len(row["input_ids"]))
    return [row["input_ids"] for row in overlong.fitting(rows)], overlong


def test_a_record_is_left_out_whole(tmp_path: Path) -> None:
    prepared = prepare(training("a", overlong="drop"), tmp_path, Records([text(1, 2), TWENTY]))
    assert prepared.train["input_ids"][:] == [[1, 2]]
    assert prepared.summary.dropped == DroppedRecords(overlong=1)


def test_a_record_is_cut_off(tmp_path: Path) -> None:
    prepared = prepare(training("a", overlong="truncate"), tmp_path, Records([text(1, 2), TWENTY]))
    assert prepared.train["input_ids"][:] == [[1, 2], [1, 2, 3, 4, 5, 6, 7, 8]]
    assert (prepared.summary.records, prepared.summary.tokens, prepared.summary.truncated) == (2, 10, 1)


def test_the_parts_of_a_record_follow_each_other_and_keep_their_labels(tmp_path: Path) -> None:
    record = completion("1 2 3 4 5", "6 7 8 9 10 11 12 13 14 15 16 17 18 19 20")
    prepared = prepare(training("a", overlong="split"), tmp_path, Records([record, text(1, 2)]))
    assert prepared.train["input_ids"][:] == [list(range(1, 9)), list(range(9, 17)), [17, 18, 19, 20], [1, 2]]
    assert prepared.train["labels"][:][0] == [-100] * 5 + [6, 7, 8]
    assert prepared.train["labels"][:][1:] == prepared.train["input_ids"][:][1:]
    assert prepared.train["length"][:] == [8, 8, 4, 2]
    assert prepared.summary.dropped == DroppedRecords()
    assert (prepared.summary.records, prepared.summary.tokens, prepared.summary.split) == (2, 22, 1)


@pytest.mark.parametrize("overlong", ["truncate", "split"])
def test_a_part_that_loss_does_not_count_is_left_out(tmp_path: Path, overlong: Literal["truncate", "split"]) -> None:
    record = completion("1 2 3 4 5 6 7 8 9", "10 11 12")
    prepared = prepare(training("a", overlong=overlong), tmp_path, Records([record, text(1, 2)]))
    kept = [[9, 10, 11, 12], [1, 2]] if overlong == "split" else [[1, 2]]
    assert prepared.train["input_ids"][:] == kept
    assert prepared.summary.dropped == DroppedRecords(unlabelled=1)
    assert (prepared.summary.split, prepared.summary.truncated) == (int(overlong == "split"), 0)


def test_the_first_token_of_a_part_is_no_reason_to_keep_it() -> None:
    # Nothing stands before it that it could be predicted from.
    kept, overlong = fit("split", {"input_ids": list(range(9)), "labels": list(range(9))})
    assert kept == [list(range(8))]
    assert (overlong.split, overlong.unlabelled) == (1, 1)


def test_of_several_rows_of_a_record_those_that_fit_are_kept() -> None:
    rows = [{"input_ids": [1] * length, "labels": [1] * length} for length in (12, 4, 9)]
    kept, overlong = fit("drop", *rows)
    assert kept == [[1] * 4]
    assert (overlong.dropped, overlong.shortest) == (1, 9)


@pytest.mark.parametrize(("recipe", "policy"), [(SFT, "drop"), (PT, "split"), (DPO, "drop")])
def test_texts_of_pre_training_are_split_by_default(recipe: Recipe, policy: Policy) -> None:
    assert policy_of(training("a"), recipe) == policy
    assert policy_of(training("a", overlong="truncate"), recipe) == "truncate"


@pytest.mark.parametrize("overlong", ["truncate", "split"])
def test_records_that_are_compared_are_not_cut(tmp_path: Path, overlong: str) -> None:
    with pytest.raises(ConfigError) as raised:
        prepare(training("a", overlong=overlong), tmp_path, Records([TWENTY]), recipe=DPO)
    assert raised.value.message == (
        f"data.overlong: {overlong} cuts records at any token, which is for method sft or pt of task causal-lm, and "
        "this is method dpo of task causal-lm; set it to drop"
    )


def test_when_all_are_too_long_the_shortest_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        prepare(training("a"), tmp_path, Records([TWENTY, text(*range(15))]))
    assert raised.value.message == (
        "data.train: dataset a: no record fits: data.maxLength is 8 tokens and the shortest of 2 has 15. "
        "Raise data.maxLength or shorten the records"
    )
    assert not raised.value.retryable


def test_a_record_of_exactly_max_length_is_kept(tmp_path: Path) -> None:
    prepared = prepare(training("a"), tmp_path, Records([text(*range(8)), text(*range(9))]))
    assert prepared.summary == DataSummary(
        records=1,
        tokens=8,
        dropped=DroppedRecords(overlong=1),
        datasets=prepared.summary.datasets,
    )
