"""What was found out is on the disk at once, and a line that was cut off costs that line alone."""

import json
from pathlib import Path

import pytest

from tests.s3 import BUCKET, S3Server
from tunesmith_runtime.storage import journal
from tunesmith_runtime.storage.journal import Journal

NAME = "answers.jsonl"


def test_what_is_added_is_there_for_the_next_one(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/kept"
    with journal.opened(uri, NAME) as kept:
        assert kept.get("a") is None
        kept.add({"a": {"answer": "zwölf\u2028Spinnen\n"}, "b": {"nll": 1.5}})
        # Before anybody closes it.
        assert Journal(tmp_path / "kept" / NAME).get("a") == {"answer": "zwölf\u2028Spinnen\n"}

    with journal.opened(uri, NAME) as kept:
        assert kept.get("b") == {"nll": 1.5}


@pytest.mark.parametrize("torn", ['{"key": "b", "ans', "{", "[]\n", "7\n", "\x00\xff\n", '{"answer": "x"}\n', "\n\n"])
def test_a_line_that_was_cut_off_costs_that_line_alone(tmp_path: Path, torn: str) -> None:
    path = tmp_path / NAME
    Journal(path).add({"a": {"answer": "1"}})
    with path.open("a", encoding="utf-8") as file:
        file.write(torn)

    after = Journal(path)
    after.add({"c": {"answer": "3"}})

    again = Journal(path)
    assert (again.get("a"), again.get("c")) == ({"answer": "1"}, {"answer": "3"})
    assert again.get("b") is None


def test_what_nobody_used_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / NAME
    kept = Journal(path)
    kept.add({key: {"answer": key} for key in "abc"})

    kept.keep({"b", "x"})

    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["b"]
    assert [Journal(path).get(key) is None for key in "abc"] == [True, False, True]
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


def test_in_a_bucket_it_is_there_in_the_end_and_is_gone_on_with(s3: S3Server) -> None:
    uri = f"s3://{BUCKET}/answers"
    with journal.opened(uri, NAME) as kept:
        kept.add({"a": {"answer": "1"}})
    with journal.opened(uri, NAME) as kept:
        kept.add({"b": {"answer": "2"}})
    with journal.opened(uri, NAME) as kept:
        assert (kept.get("a"), kept.get("b")) == ({"answer": "1"}, {"answer": "2"})
        kept.keep({"b"})
    with journal.opened(uri, NAME) as kept:
        assert kept.get("a") is None
