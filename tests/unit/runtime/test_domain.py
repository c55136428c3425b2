"""What is kept of a reward model's second stage, and what people are told of it."""

import json
from pathlib import Path

import pytest

from tests.s3 import BUCKET, S3Server
from tunesmith_api.finetunejob import DatasetSummary, DataSummary, DroppedRecords
from tunesmith_runtime.data.encoded import EncodedRows
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.train.domain import counting, decision
from tunesmith_runtime.train.domain.counting import Kept
from tunesmith_runtime.train.domain.decision import CONTRADICTED, DECISION, Decision
from tunesmith_runtime.train.domain.rows import DomainRows
from tunesmith_runtime.train.stages import ONLY, Stage

GENERAL = DataSummary(
    records=90,
    validation_records=10,
    tokens=900,
    dropped=DroppedRecords(overlong=3, empty=1),
    datasets=(DatasetSummary(name="general", records=90, tokens=900, share=1.0),),
)
DOMAIN = DataSummary(
    records=50,
    tokens=500,
    dropped=DroppedRecords(overlong=2),
    datasets=(
        DatasetSummary(name="tickets", records=40, tokens=400, share=0.8),
        DatasetSummary(name="mails", records=10, tokens=100, share=0.2),
    ),
)
KEPT = {"tickets": Kept(30, 290, 10), "mails": Kept(10, 100, 0)}
MADE = Decision("abc", 12, 0.95, -0.7, (1, 4, 5), KEPT)


def test_both_stages_are_counted_together() -> None:
    both = counting.together(GENERAL, DOMAIN)
    assert (both.records, both.validation_records, both.tokens) == (140, 10, 1400)
    assert (both.dropped.overlong, both.dropped.empty, both.dropped.contradicted) == (5, 1, 0)
    assert [(each.name, each.share) for each in both.datasets] == [("general", 1.0), ("tickets", 0.8), ("mails", 0.2)]


def test_what_is_left_out_is_counted_once_however_often_a_worker_says_so() -> None:
    once = counting.chosen(counting.together(GENERAL, DOMAIN), KEPT)
    assert (once.records, once.tokens, once.dropped.contradicted) == (130, 1290, 10)
    assert [(each.records, each.share) for each in once.datasets] == [(90, 1.0), (30, 0.75), (10, 0.25)]
    assert counting.chosen(once, KEPT) == once


def test_a_decision_is_read_as_it_was_written(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/checkpoints/domain"
    assert decision.read(uri, "abc") is None
    decision.write(uri, MADE, '{"margin": -1}\n')
    assert decision.read(uri, "abc") == MADE
    assert sorted(path.name for path in (tmp_path / "checkpoints" / "domain").iterdir()) == [CONTRADICTED, DECISION]


def test_a_decision_in_a_bucket(s3: S3Server) -> None:
    uri = f"s3://{BUCKET}/bot-checkpoints/domain"
    assert decision.read(uri, "abc") is None
    decision.write(uri, MADE, "")
    assert decision.read(uri, "abc") == MADE


def test_a_decision_about_other_data_is_refused(tmp_path: Path) -> None:
    decision.write(f"file://{tmp_path}", MADE, "")
    with pytest.raises(DataError, match=r"decision\.json speaks of other data: a dataset has changed since"):
        decision.read(f"file://{tmp_path}", "abd")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"step": 1}', json.dumps({"kept": {"a": {}}, "contradicted": []})])
def test_a_damaged_decision_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / DECISION).write_text(text)
    with pytest.raises(DataError, match=r"decision\.json is damaged; delete it"):
        decision.read(f"file://{tmp_path}", "abc")


def test_a_stage_logs_by_the_steps_of_the_run() -> None:
    log = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}]
    assert ONLY.logged(log) == log
    later = Stage(before=10, earlier=[{"step": 10, "loss": 0.6}])
    assert later.logged(log) == [
        {"step": 10, "loss": 0.6},
        {"step": 11, "loss": 0.5},
        {"step": 12, "loss": 0.4},
    ]


def test_the_rows_are_found_where_the_data_was_copied_to(tmp_path: Path) -> None:
    made = DomainRows(EncodedRows(Path("/made/domain/rows.arrow")), ("tickets",), "abc")
    assert made.inside(tmp_path).rows.file == tmp_path / "domain" / "rows.arrow"
