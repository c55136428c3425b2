"""Files become rows; one that cannot be read says what is wrong, where, and what to do."""

import bz2
import gzip
import hashlib
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import feather, ipc, parquet

from tunesmith_api.data import DatasetSource
from tunesmith_runtime.data.reading import Rows, open_rows
from tunesmith_runtime.data.rows import Row
from tunesmith_runtime.errors import DataError

ONE, TWO = {"text": "one"}, {"text": "two"}
LINES = b'{"text": "one"}\n{"text": "two"}\n'


def opened(path: Path | str) -> Rows:
    return open_rows(DatasetSource(uri=f"file://{path}", format="text"))


def read(path: Path, content: str | bytes | None = None) -> list[Row]:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(opened(path).read())


def values(path: Path | str) -> list[dict[str, Any]]:
    return [row.value for row in opened(path).read()]


def write(folder: Path, **files: str) -> None:
    """Write files of one record each, with __ for a slash and _ for a dot in their names."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"text": text}) if text else "")


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
    assert [row.value for row in read(tmp_path / "records.json", content)] == [ONE, TWO]


def test_a_line_separator_inside_a_string_is_no_end_of_line(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", '{"text": "a\u2028b"}\n')[0].value == {"text": "a\u2028b"}


def test_the_digest_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"text": "one"}\r\n'
    (tmp_path / "a.jsonl").write_bytes(content)
    assert opened(tmp_path / "a.jsonl").digest == hashlib.sha256(content).hexdigest()


def test_a_claim_is_read_below_the_volumes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "a.jsonl").write_text(json.dumps(ONE))
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    for uri in ("pvc://datasets/a.jsonl", "pvc://datasets/*.jsonl", "pvc://datasets"):
        assert [row.value for row in open_rows(DatasetSource(uri=uri, format="text")).read()] == [ONE]
    with pytest.raises(DataError, match=r"pvc://datasets/b\.jsonl \(.*/datasets/b\.jsonl\): no such file"):
        open_rows(DatasetSource(uri="pvc://datasets/b.jsonl", format="text"))
    with pytest.raises(DataError, match=r"pvc://datasets/b\*\.jsonl \(.*\): no data file matches the pattern"):
        open_rows(DatasetSource(uri="pvc://datasets/b*.jsonl", format="text"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.jsonl").endswith("gone.jsonl: no such file")


@pytest.mark.parametrize("content", ["", "\n \r\n", "\ufeff"], ids=["no-bytes", "blank-lines", "bom-only"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    assert refusal(tmp_path / "a.jsonl", content).endswith("is empty; it must hold at least one record")


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.json", "[]").endswith("holds no records: its list is empty")


def test_what_is_not_json_says_where_it_stops_being_json(tmp_path: Path) -> None:
    assert "is neither JSON nor JSONL: not JSON: expecting value at column 1" in refusal(tmp_path / "a", "a,b\n1,2\n")
    assert refusal(tmp_path / "c.txt", "a,b\n1,2\n").endswith("A CSV file's name must end with .csv or .tsv")
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


def test_a_broken_first_line_does_not_make_a_document_of_the_lines(tmp_path: Path) -> None:
    lines = '{"text": "one"\n{"text": "two"}\n{"text": "three"}\n'
    assert refusal(tmp_path / "a.jsonl", lines).endswith("line 1: not JSON: expecting ',' delimiter at column 15")


def test_rows_are_read_when_they_are_asked_for_and_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n' * 100_000 + "{broken\n")
    rows = opened(path)
    assert next(rows.read()).value == ONE  # long before the line that is broken
    with pytest.raises(DataError, match="line 100001: not JSON"):
        list(rows.read())
    path.write_text(json.dumps(TWO))
    assert [row.value for row in rows.read()] == [TWO]


class TestCsv:
    def test_the_header_names_the_columns_and_all_values_are_strings(self, tmp_path: Path) -> None:
        rows = read(tmp_path / "a.csv", 'text,label\r\n"one, ""1""",5\r\n\r\n"two\nlines",\r\n')
        assert rows == [
            Row("line 2", {"text": 'one, "1"', "label": "5"}, untyped=True),
            Row("line 4", {"text": "two\nlines", "label": ""}, untyped=True),
        ]

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", "\ufefftext;label\none, two;x\n"),
            ("a.tsv", "text\tlabel\none, two\tx\n"),
            ("a.csv", ' text ,label\n"one, two",x\n'),
        ],
    )
    def test_its_delimiter_is_that_of_the_header(self, tmp_path: Path, name: str, content: str) -> None:
        assert [row.value for row in read(tmp_path / name, content)] == [{"text": "one, two", "label": "x"}]

    def test_json_by_the_name_of_csv_is_json(self, tmp_path: Path) -> None:
        assert [row.value for row in read(tmp_path / "a.csv", LINES)] == [ONE, TWO]

    def test_long_texts_are_whole(self, tmp_path: Path) -> None:
        long = "word " * 100_000
        assert read(tmp_path / "a.csv", f"text\n{long}\n")[0].value == {"text": long}

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ("text,label\none\ntwo,x\n", "line 2: 1 fields where the header names 2"),
            ("text\none,x\n", "line 2: 2 fields where the header names 1"),
            ('text,label\none,x\n"two,x\nthree,x\n', "line 3: not CSV: unexpected end of data"),
            ('text,label\n"one" 1,x\n', "line 2: not CSV: ',' expected after '\"'"),
            ("text,text\none,x\n", "the header names a column twice: 'text'"),
            ("text\n", "holds no records: nothing follows its header"),
            ("\n", "is empty; it must hold at least one record"),
            (b"text\none\ncaf\xe9\n", "line 3: not UTF-8: byte 0xe9 at position 3; save it as UTF-8"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, content: str | bytes, fault: str) -> None:
        assert refusal(tmp_path / "a.csv", content).endswith(fault)


def _parquet(table: pyarrow.Table, path: Path) -> None:
    parquet.write_table(table, path, row_group_size=2)


def _arrow_file(table: pyarrow.Table, path: Path) -> None:
    with ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def _arrow_stream(table: pyarrow.Table, path: Path) -> None:
    with ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


ARROW = pytest.mark.parametrize("write_table", [_parquet, _arrow_file, _arrow_stream, feather.write_feather])


class TestArrow:
    @ARROW
    @pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a"])
    def test_tables_are_known_by_what_they_hold(
        self, tmp_path: Path, write_table: Callable[[pyarrow.Table, Path], None], name: str
    ) -> None:
        turns = [[{"role": "user", "content": str(number)}] for number in range(600)]
        write_table(pyarrow.table({"messages": turns, "id": range(600)}), tmp_path / name)
        rows = read(tmp_path / name)
        assert rows[1] == Row("row 2", {"messages": [{"role": "user", "content": "1"}], "id": 1})
        assert [row.value["id"] for row in rows] == list(range(600))

    @ARROW
    def test_columns_that_are_not_needed_are_not_read(
        self, tmp_path: Path, write_table: Callable[[pyarrow.Table, Path], None]
    ) -> None:
        write_table(pyarrow.table({"text": ["one"], "picture": [b"..."]}), tmp_path / "a")
        (row,) = opened(tmp_path / "a").read(lambda names: [name for name in names if name == "text"])
        assert row.value == ONE

    @ARROW
    def test_one_without_rows_is_refused(
        self, tmp_path: Path, write_table: Callable[[pyarrow.Table, Path], None]
    ) -> None:
        write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "a")
        assert refusal(tmp_path / "a").endswith("holds no records: it has no rows")

    @ARROW
    def test_half_of_one_is_refused(self, tmp_path: Path, write_table: Callable[[pyarrow.Table, Path], None]) -> None:
        write_table(pyarrow.table({"text": ["one", "two"] * 100}), tmp_path / "whole")
        content = (tmp_path / "whole").read_bytes()
        assert "a.parquet cannot be read: " in refusal(tmp_path / "a.parquet", content[: len(content) // 2])


def _zstandard(content: bytes) -> bytes:
    return bytes(pyarrow.Codec("zstd").compress(content, asbytes=True))


PACKERS = pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, _zstandard])


class TestCompression:
    @PACKERS
    def test_files_are_unpacked_whatever_their_name_is(self, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
        assert [row.value for row in read(tmp_path / "a.jsonl", pack(LINES))] == [ONE, TWO]
        assert [row.value for row in read(tmp_path / "two-parts", pack(LINES[:16]) + pack(LINES[16:]))] == [ONE, TWO]
        (row,) = read(tmp_path / "a.csv.gz", pack(b"text,label\none,1\n"))
        assert row.value == {"text": "one", "label": "1"}
        parquet.write_table(pyarrow.table({"text": ["one", "two"]}), tmp_path / "plain")
        assert [row.value for row in read(tmp_path / "a", pack((tmp_path / "plain").read_bytes()))] == [ONE, TWO]

    @PACKERS
    def test_half_a_file_is_refused(self, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
        packed = pack("".join(f'{{"text": "{number}"}}\n' for number in range(10_000)).encode())
        assert "a.jsonl cannot be read: " in refusal(tmp_path / "a.jsonl", packed[: len(packed) // 2])

    def test_an_archive_is_refused(self, tmp_path: Path) -> None:
        message = refusal(tmp_path / "a.zip", b"PK\x03\x04 and so on")
        assert message.endswith("is a ZIP archive or a spreadsheet; unpack it, or save it as CSV")


class TestSeveralFiles:
    def test_a_folder_is_all_its_data_files_in_the_order_of_their_names(self, tmp_path: Path) -> None:
        write(tmp_path, b_jsonl="2", a_jsonl="1", c__d_jsonl="3", c__e_json="4")
        write(
            tmp_path, README_md="-", LICENSE="-", notes_txt_md="-", _hidden_jsonl="-", _git__a_jsonl="-", c__f_json=""
        )
        (tmp_path / "_SUCCESS").touch()
        (tmp_path / "dataset_info.json").write_text("{}")
        rows = read(tmp_path)
        assert [row.value["text"] for row in rows] == ["1", "2", "3", "4"]
        assert [row.place for row in rows][2:] == ["line 1 of c/d.jsonl", "line 1 of c/e.json"]

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("*.jsonl", "ab"),
            ("[ac]*", "a"),
            ("?.jsonl", "ab"),
            ("*/d.jsonl", "d"),
            ("c/*", "d"),
            ("**/*.jsonl", "abdf"),
            ("**", "abdf"),
            ("c/**/f.jsonl", "f"),
            ("**.jsonl", "ab"),
        ],
    )
    def test_a_pattern_is_the_files_that_match(self, tmp_path: Path, pattern: str, found: str) -> None:
        write(tmp_path, a_jsonl="a", b_jsonl="b", c__d_jsonl="d", c__e__f_jsonl="f", _h_jsonl="h", README_md="r")
        assert "".join(value["text"] for value in values(tmp_path / pattern)) == found

    def test_a_file_whose_name_is_a_pattern_is_that_file(self, tmp_path: Path) -> None:
        write(tmp_path, **{"[ab]_jsonl": "own", "a_jsonl": "a"})
        assert values(tmp_path / "[ab].jsonl") == [{"text": "own"}]

    def test_linked_folders_are_read_once(self, tmp_path: Path) -> None:
        write(tmp_path, data__a_jsonl="a", elsewhere__b_jsonl="b")
        (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "data")
        assert values(tmp_path / "data") == [{"text": "a"}, {"text": "b"}]

    def test_every_kind_of_file_can_lie_there(self, tmp_path: Path) -> None:
        write(tmp_path, a_jsonl="a")
        (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"text\nb\n"))
        parquet.write_table(pyarrow.table({"text": ["c"]}), tmp_path / "c.parquet")
        assert [value["text"] for value in values(tmp_path)] == ["a", "b", "c"]

    def test_broken_lines_of_all_files_are_named_together(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text" "x"}\n')
        (tmp_path / "b.jsonl").write_text('{"text" "x"}\n{"text": "one"}\n')
        assert ": 2 lines cannot be read: line 2 of a.jsonl, line 1 of b.jsonl: not JSON" in refusal(tmp_path)

    def test_a_file_of_no_kind_is_named(self, tmp_path: Path) -> None:
        write(tmp_path, a_jsonl="a")
        (tmp_path / "b.txt").write_text("just text")
        assert f"file://{tmp_path}/b.txt is neither JSON nor JSONL" in refusal(tmp_path)

    def test_a_folder_without_data_is_refused(self, tmp_path: Path) -> None:
        assert refusal(tmp_path).endswith(": the folder holds no data files")
        write(tmp_path, README_md="-", _hidden="-")
        assert refusal(tmp_path).endswith(": the folder holds no data files; passed over: .hidden, README.md")

    def test_a_pattern_that_nothing_matches_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, a_json="-")
        with pytest.raises(DataError, match=r"/\*\.csv: no data file matches the pattern$"):
            opened(tmp_path / "*.csv")
        with pytest.raises(DataError, match="can stand in paths only"):
            open_rows(DatasetSource(uri="s3://buck*t/a.csv", format="text"))

    def test_empty_files_are_passed_over_unless_all_are(self, tmp_path: Path) -> None:
        write(tmp_path, a_jsonl="", b_jsonl="b")
        assert values(tmp_path) == [{"text": "b"}]
        write(tmp_path, b_jsonl="")
        assert refusal(tmp_path).endswith("holds no records: all its files are empty")

    def test_the_digest_is_over_names_and_bytes(self, tmp_path: Path) -> None:
        write(tmp_path, x__a_jsonl="1", y__a_jsonl="1", z__b_jsonl="1", v__a_jsonl="2")
        x, y, z, v = (opened(tmp_path / name).digest for name in "xyzv")
        assert x == y == opened(f"{tmp_path}/x/*").digest
        assert len({x, z, v}) == 3


def test_a_split_is_for_the_hub_only(tmp_path: Path) -> None:
    write(tmp_path, a_jsonl="a")
    with pytest.raises(DataError, match="split is for hf:// only, and here it is test; leave it out"):
        open_rows(DatasetSource(uri=f"file://{tmp_path}/a.jsonl", format="text", split="test"))
