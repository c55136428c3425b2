"""Documents are cut into passages: at headings and paragraphs, else at sentences, words last."""

from collections.abc import Iterator
from dataclasses import dataclass

from tunesmith_api.serving.retrieval import Chunks
from tunesmith_runtime.serve.retrieval.documents import Document


@dataclass(frozen=True)
class Passage:
    """A piece of a document."""

    document: str
    part: str
    text: str


def cut(document: Document, chunks: Chunks) -> Iterator[Passage]:
    """Yield a document's passages, in its order."""
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    kind = MarkdownSplitter if document.markdown else TextSplitter
    for text in kind(chunks.size, overlap=chunks.overlap).chunks(document.text):
        yield Passage(document.name, document.part, text)
