"""JSON and JSONL files become rows; a file that cannot be read says what is wrong, where, and what to do."""

import hashlib
import json
from pathlib import Path

import pytest

from tunesmith_api.finetunejob import DatasetSource
from tunesmith_runtime.data.reading import RawDataset, read_rows
from tunesmith_runtime.errors import DataError

ONE, TWO = {"text": "one"}, {"text": "two"}


def read(path: Path, content: str | bytes | None = None) -> RawDataset:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_rows(DatasetSource(uri=f"file://{path}", format="text"))


def refusal(path: Path, content: str | bytes | None = None) -> str:
    with pytest.raises(DataError) as raised:
        read(path, content)
    assert raised.value.failure().reason == "DataInvalid"
    assert not raised.value.retryable
    assert str(path) in raised.value.message
    return raised.value.message


@pytest.mark.parametrize(
    "content",
    [
        '{"text": "one"}\n{"text": "two"}\n',
        '{"text": "one"}\n{"text": "two"}',
        '\ufeff{"text": "one"}\r\n{"text": "two"}\r\n',
        '\n{"text": "one"}\n\n  \n{"text": "two"}\n\n',
        '[{"text": "one"}, {"text": "two"}]',
        '\ufeff[\r\n {"text": "one"},\r\n {"text": "two"}\r\n]\r\n',
        '{"version": "1.1", "data": [{"text": "one"}, {"text": "two"}]}',
        '{\n "data": [\n {"text": "one"},\n {"text": "two"}\n ]\n}',
    ],
    ids=["jsonl", "no-last-newline", "bom-crlf-jsonl", "blank-lines", "json", "bom-crlf-json", "data", "pretty-data"],
)
def test_every_spelling_of_two_objects_reads_the_same(tmp_path: Path, content: str) -> None:
    # The suffix is wrong for half of them: the content decides.
    assert [row.value for row in read(tmp_path / "records.json", content).rows] == [ONE, TWO]


def test_a_line_separator_inside_a_string_is_no_end_of_line(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", '{"text": "a\u2028b"}\n').rows[0].value == {"text": "a\u2028b"}


def test_the_digest_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"text": "one"}\r\n'
    assert read(tmp_path / "a.jsonl", content).digest == hashlib.sha256(content).hexdigest()


def test_a_claim_is_read_below_the_volumes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "a.jsonl").write_text(json.dumps(ONE))
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    assert read_rows(DatasetSource(uri="pvc://datasets/a.jsonl", format="text")).rows[0].value == ONE
    with pytest.raises(DataError, match=r"pvc://datasets/b\.jsonl \(.*/datasets/b\.jsonl\): no such file"):
        read_rows(DatasetSource(uri="pvc://datasets/b.jsonl", format="text"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.jsonl").endswith("gone.jsonl: no such file")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("is a folder; name a JSON or JSONL file")


@pytest.mark.parametrize("content", ["", "\n \r\n", "\ufeff"], ids=["no-bytes", "blank-lines", "bom-only"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    assert refusal(tmp_path / "a.jsonl", content).endswith("is empty; it must hold at least one record")


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.json", "[]").endswith("holds no records: its list is empty")


def test_what_is_not_json_says_where_it_stops_being_json(tmp_path: Path) -> None:
    assert "is neither JSON nor JSONL: not JSON: expecting value at column 1" in refusal(tmp_path / "a", "a,b\n1,2\n")
    broken = refusal(tmp_path / "b.json", '[\n  {"text": "one"},\n  {"text": }\n]')
    assert broken.endswith("is neither JSON nor JSONL: not JSON: expecting value at line 3, column 12")


def test_the_broken_line_among_good_ones_is_named(tmp_path: Path) -> None:
    lines = '{"text": "one"}\n{"text": "two"\n{"text": "three"}\n'
    assert refusal(tmp_path / "a.jsonl", lines).endswith("line 2: not JSON: expecting ',' delimiter at column 15")


def test_a_broken_first_line_is_named_too(tmp_path: Path) -> None:
    assert "line 1: not JSON" in refusal(tmp_path / "a.jsonl", '{"text": \n{"text": "two"}\n')


def test_all_broken_lines_are_named_up_to_five(tmp_path: Path) -> None:
    good, bad = '{"text": "one"}', '{"text" "x"}'
    message = refusal(tmp_path / "a.jsonl", "\n".join([good, bad, good, *[bad] * 6]))
    assert ": 7 lines cannot be read: line 2, line 4, line 5, line 6, line 7: not JSON: " in message
    assert message.endswith("(and 2 more)")


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path / "a.jsonl", b'{"text": "one"}\n{"text": "caf\xe9"}\n')
    assert message.endswith("line 2: not UTF-8: byte 0xe9 at position 13; save it as UTF-8")


def test_a_document_in_another_encoding_is_refused(tmp_path: Path) -> None:
    assert "not UTF-8: byte 0xff at position 0" in refusal(tmp_path / "a.json", '[{"text": "é"}]'.encode("utf-16"))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"text": "one"}\n["two"]\n', "line 2: a list where an object is expected"),
        ('[{"text": "one"}, 5, null]', "2 records cannot be read: record 2: a number where an object is expected; "),
        ('[{"text": "one"}, "two"]', "record 2: a string where an object is expected"),
        ('{"data": [true]}', "data[0]: true or false where an object is expected"),
        ('"just a string"', "holds a string where a list of objects is expected"),
        ('{\n"text": "one"\n}', "holds one object where a list of objects is expected; write [{...}, ...], or one"),
    ],
)
def test_a_row_that_is_no_object_is_named(tmp_path: Path, content: str, fault: str) -> None:
    assert fault in refusal(tmp_path / "a.json", content)


def test_absurd_nesting_is_refused_and_does_not_crash(tmp_path: Path) -> None:
    assert "nested too deeply" in refusal(tmp_path / "a.json", "[" * 200_000)
