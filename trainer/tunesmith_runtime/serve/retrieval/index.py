"""An index on disk: vectors in usearch's file, passages in SQLite's, and a note that says what it is."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index as VectorIndex

from tunesmith_runtime.serve.retrieval.chunking import Passage
from tunesmith_runtime.serve.retrieval.embedding import Vectors

# The file by which a folder is known for a whole index.
MARKER = "index.json"
_VECTORS = "vectors.usearch"
_PASSAGES = "passages.sqlite"
_VERSION = 1
# Up to so many vectors, all are compared, which takes milliseconds and finds the best ones for certain.
_COMPARED_ALL = 20_000


class DamagedIndexError(Exception):
    """A folder is not the index that it says it is."""


@dataclass(frozen=True)
class Found:
    """A passage, and how near it is to a question: the cosine of the angle between them."""

    passage: Passage
    score: float


class IndexWriter:
    """Writes an index, batch by batch, into an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._vectors: VectorIndex | None = None
        self._passages = sqlite3.connect(folder / _PASSAGES, check_same_thread=False)
        self._passages.execute("CREATE TABLE passages (id INTEGER PRIMARY KEY, document TEXT, part TEXT, text TEXT)")
        self.count = 0

    def add(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Add passages with their vectors."""
        if self._vectors is None:
            self._vectors = _empty(vectors.shape[1])
        numbers = range(self.count, self.count + len(passages))
        self._vectors.add(np.array(numbers, dtype=np.uint64), vectors)
        rows = ((number, each.document, each.part, each.text) for number, each in zip(numbers, passages, strict=True))
        self._passages.executemany("INSERT INTO passages VALUES (?, ?, ?, ?)", rows)
        self.count += len(passages)

    def finish(self, facts: dict[str, Any]) -> None:
        """Write the rest, and last the note, with what is known of the index besides."""
        self._passages.commit()
        self._passages.close()
        assert self._vectors is not None  # noqa: S101 - an index without passages is never finished
        self._vectors.save(str(self._folder / _VECTORS))
        note = {"version": _VERSION, "passages": self.count, "dimensions": self._vectors.ndim, **facts}
        (self._folder / MARKER).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


class Index:
    """An index that can be asked. It is in memory; of the passages only those that are found are read."""

    def __init__(self, folder: Path) -> None:
        """Open it. Raises DamagedIndexError."""
        try:
            self.facts = json.loads((folder / MARKER).read_text(encoding="utf-8"))
            if self.facts["version"] != _VERSION:
                raise DamagedIndexError(f"{folder} is an index of version {self.facts['version']}, not {_VERSION}")
            self._vectors = _empty(self.facts["dimensions"])
            self._vectors.load(str(folder / _VECTORS))
            self._passages = sqlite3.connect(
                f"{(folder / _PASSAGES).absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            (count,) = self._passages.execute("SELECT count(*) FROM passages").fetchone()
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, sqlite3.Error) as error:
            raise DamagedIndexError(f"{folder} is no index that can be read: {error}") from error
        if not len(self._vectors) == count == self.facts["passages"]:
            raise DamagedIndexError(f"{folder} has {count} passages and {len(self._vectors)} vectors")

    def search(self, question: Vectors, most: int, least: float) -> list[Found]:
        """Return the `most` passages that fit best, the best first, each with a score of at least `least`.

        Raises ValueError when the question has another number of dimensions, and sqlite3.Error.
        """
        if question.shape != (self._vectors.ndim,):
            raise ValueError(f"the index has {self._vectors.ndim} dimensions, and the question {question.shape[0]}")
        nearest = self._vectors.search(question, most, exact=len(self._vectors) <= _COMPARED_ALL)
        found = []
        for number, distance in zip(nearest.keys.tolist(), nearest.distances.tolist(), strict=True):
            if (score := 1 - distance) >= least:
                row = self._passages.execute("SELECT document, part, text FROM passages WHERE id = ?", (number,))
                found.append(Found(Passage(*row.fetchone()), round(score, 4)))
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._passages.close()


def _empty(dimensions: int) -> VectorIndex:
    return VectorIndex(ndim=dimensions, metric="cos", dtype="f16")
