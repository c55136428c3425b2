"""Files of each kind become texts, and texts become passages that end where sentences do."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tests.papers import pdf
from tunesmith_api.serving.retrieval import Chunks
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.serve.retrieval.chunking import cut
from tunesmith_runtime.serve.retrieval.documents import Document, is_document, read


def written(folder: Path, name: str, contents: str | bytes) -> list[Document]:
    path = folder / name
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    return list(read(name, path))


def test_texts_and_markdown_are_taken_as_they_are(tmp_path: Path) -> None:
    assert written(tmp_path, "a.txt", "\ufeffOpen at nine.") == [Document("a.txt", "Open at nine.")]
    assert written(tmp_path, "A.MD", "# Hours") == [Document("A.MD", "# Hours", markdown=True)]


def test_a_page_is_read_without_its_programs(tmp_path: Path) -> None:
    page = "<html><script>steal()</script><nav>Home</nav><h1>Hours</h1><p>Open at <b>nine</b>.<style>p{}</style>"
    (found,) = written(tmp_path, "a.html", page)
    assert found.text.split() == ["#", "Hours", "Open", "at", "**nine**."]
    assert found.markdown


def test_a_page_says_its_own_encoding(tmp_path: Path) -> None:
    page = '<meta charset="iso-8859-1"><p>Geöffnet'.encode("latin-1")
    assert "Geöffnet" in written(tmp_path, "a.htm", page)[0].text


def test_each_line_of_jsonl_is_a_document(tmp_path: Path) -> None:
    rows = [{"text": "One"}, {"text": "Two", "more": 2}]
    found = written(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert [(each.text, each.part) for each in found] == [("One", "line 1"), ("Two", "line 3")]


def test_each_page_of_a_pdf_is_a_document(tmp_path: Path) -> None:
    found = written(tmp_path, "a.pdf", pdf("Open at nine.", "Closed on Sunday."))
    assert [(each.text, each.part) for each in found] == [("Open at nine.", "page 1"), ("Closed on Sunday.", "page 2")]


@pytest.mark.parametrize(
    ("name", "contents", "words"),
    [
        ("a.jsonl", '{"text": "One"}\n{"title": "Two"}', "a.jsonl, line 2 has no text"),
        ("a.jsonl", "nonsense", "a.jsonl, line 1 is no JSON"),
        ("a.txt", b"\xff\xfe", "a.txt is no UTF-8: byte 0 of it cannot be; save it as UTF-8"),
        ("a.pdf", "nonsense", "a.pdf cannot be read as PDF"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, contents: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        written(tmp_path, name, contents)


def test_a_document_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith_runtime.serve.retrieval.documents.MOST_BYTES", 3)
    with pytest.raises(DataError, match=r"a\.txt has 4 bytes; a document may have 3"):
        written(tmp_path, "a.txt", "four")


def test_other_files_are_none() -> None:
    assert [name for name in ("a.TXT", "b/c.md", "d.docx", "e", "f.png") if is_document(name)] == ["a.TXT", "b/c.md"]


def test_passages_end_where_paragraphs_and_sentences_do() -> None:
    text = "The shop opens at nine. It closes at six.\n\nOn Sundays it is closed. " + "We mend punctures. " * 8
    found = [each.text for each in cut(Document("a.txt", text), Chunks(size=100, overlap=0))]
    assert found[0] == "The shop opens at nine. It closes at six."
    assert all(len(each) <= 100 and each.endswith(".") for each in found)


def test_passages_overlap_by_whole_sentences() -> None:
    text = " ".join(f"This is sentence number {number}." for number in range(12))
    found = [each.text for each in cut(Document("a.txt", text), Chunks(size=120, overlap=40))]
    for one, next_one in pairwise(found):
        assert one.endswith(next_one.partition(".")[0] + ".")


def test_markdown_is_cut_at_its_headings() -> None:
    text = "# Hours\n\n" + "We open at nine. " * 4 + "\n\n# Prices\n\n" + "A tube is six. " * 4
    found = [each.text for each in cut(Document("a.md", text, "page 2", markdown=True), Chunks(size=100, overlap=0))]
    assert [each.partition("\n")[0] for each in found] == ["# Hours", "# Prices"]
