"""Files become documents: names and texts."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tunesmith_runtime.errors import DataError

# A file that is larger is none that people read.
MOST_BYTES = 256 * 2**20
_NOT_SHOWN = ("script", "style", "noscript", "template", "nav", "svg")


@dataclass(frozen=True)
class Document:
    """A text. `part` says where in the file it is, as in `page 3`; Markdown is cut where its headings are."""

    name: str
    text: str
    part: str = ""
    markdown: bool = False


def is_document(name: str) -> bool:
    """Return whether files of this name are read."""
    return _suffix(name) in READERS


def read(name: str, path: Path) -> Iterator[Document]:
    """Yield the documents of a file. Raises DataError when it cannot be read as what its name says."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise DataError(f"{name} has {size} bytes; a document may have {MOST_BYTES}")
    try:
        yield from READERS[_suffix(name)](name, path)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is no UTF-8: byte {error.start} of it cannot be; save it as UTF-8") from error


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _text(name: str, path: Path) -> Iterator[Document]:
    yield Document(name, path.read_text(encoding="utf-8-sig"))


def _markdown(name: str, path: Path) -> Iterator[Document]:
    yield Document(name, path.read_text(encoding="utf-8-sig"), markdown=True)


def _html(name: str, path: Path) -> Iterator[Document]:
    """Yield a page as Markdown, so that it is cut where its headings are. Its encoding is what it says itself."""
    from bs4 import BeautifulSoup
    from markdownify import ATX, MarkdownConverter

    page = BeautifulSoup(path.read_bytes(), "html.parser")
    for tag in page(_NOT_SHOWN):
        tag.decompose()
    made = MarkdownConverter(heading_style=ATX, strip=["a", "img"]).convert_soup(page.body or page)
    yield Document(name, str(made), markdown=True)


def _jsonl(name: str, path: Path) -> Iterator[Document]:
    """Yield a document for each line, an object with its text in `text`."""
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{name}, line {number} is no JSON: {error}") from error
            text = row.get("text") if isinstance(row, Mapping) else None
            if not isinstance(text, str):
                raise DataError(f"{name}, line {number} has no text; each line must be an object with a field text")
            yield Document(name, text, f"line {number}")


def _pdf(name: str, path: Path) -> Iterator[Document]:
    """Yield a document for each page that has text; what is scanned has none."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        for number, page in enumerate(PdfReader(path).pages, start=1):
            yield Document(name, page.extract_text(), f"page {number}")
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{name} cannot be read as PDF: {error or type(error).__name__}") from error


READERS: Mapping[str, Callable[[str, Path], Iterator[Document]]] = {
    ".txt": _text,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".jsonl": _jsonl,
    ".pdf": _pdf,
}
