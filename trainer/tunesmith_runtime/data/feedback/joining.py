"""Exchanges and what people said of them, joined by the request's id."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tunesmith_runtime.data.problems import Problems
from tunesmith_runtime.data.reading import FileRows, rows_of_files
from tunesmith_runtime.data.rows import Choose, Row, every_column
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.storage import FileSet

# Folders below the one that a ModelServe captures to.
EXCHANGES, FEEDBACK = "exchanges", "feedback"
# What a model can be told; calls of tools and pictures are left out.
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class _Said:
    """The newest feedback to a request."""

    time: str
    rating: Any
    correction: Any


@dataclass(frozen=True)
class JoinedRows:
    """The exchanges that have feedback, in their order, each with the newest of it.

    Ids and feedback are in memory, exchanges are not. Of exchanges with the same id the last one counts; those that
    were broken off, or that are more than text, are left out.
    """

    uri: str
    exchanges: FileRows
    feedback: FileRows
    # Copies of objects live as long as this does.
    files: FileSet

    @property
    def digest(self) -> str:
        """Return the SHA-256 of both."""
        return hashlib.sha256(f"{self.exchanges.digest}\n{self.feedback.digest}".encode()).hexdigest()

    def read(self, choose: Choose = every_column) -> Iterator[Row]:
        """Yield the rows in format feedback, all columns of it. Raises DataError, also when there are none."""
        said = self._said()
        last = {
            str(row.value.get("id")): number
            for number, row in enumerate(self.exchanges.read(lambda names: [each for each in names if each == "id"]))
            if row.value.get("id") in said
        }
        wanted, found = set(last.values()), False
        for number, row in enumerate(self.exchanges.read()):
            if number in wanted and (text := _text_of(row.value)) is not None:
                found = True
                opinion = said[row.value["id"]]
                yield replace(row, value={**text, "rating": opinion.rating, "correction": opinion.correction})
        if not found:
            raise DataError(
                f"{self.uri}: {len(said)} requests have feedback, and of none of them is there an exchange in text to "
                "learn from; set capture.sample of the ModelServe to 1, so that all are kept"
            )

    def _said(self) -> dict[str, _Said]:
        problems = Problems(self.feedback.uri, "records are no feedback")
        newest: dict[str, _Said] = {}
        for row in self.feedback.read():
            request, time = row.value.get("requestId"), str(row.value.get("time") or "")
            if not isinstance(request, str):
                problems.add(row.place, "requestId is missing")
                continue
            if request not in newest or newest[request].time <= time:
                newest[request] = _Said(time, row.value.get("rating"), row.value.get("correction"))
        problems.raise_if_any()
        return newest


def joined(uri: str, files: FileSet) -> JoinedRows | None:
    """Return the joined rows of a folder that a ModelServe captures to; None of anything else. Raises DataError."""
    parts = {
        name: FileSet(f"{uri.rstrip('/')}/{name}", tuple(each for each in files.files if _below(each.name, name)), True)
        for name in (EXCHANGES, FEEDBACK)
    }
    if not any(part.files for part in parts.values()):
        return None
    for name, why in ((FEEDBACK, "nobody has given feedback"), (EXCHANGES, "no exchange has been kept")):
        if not parts[name].files:
            raise DataError(
                f"{parts[name].uri} holds no files: {why} yet; the gateway writes what it is told within 20 seconds"
            )
    exchanges, feedback = (rows_of_files(part.uri, part) for part in (parts[EXCHANGES], parts[FEEDBACK]))
    return JoinedRows(uri, exchanges, feedback, files)


def _below(name: str, folder: str) -> bool:
    return name.startswith(f"{folder}/")


def _text_of(exchange: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the messages, or the prompt and the completion, of an exchange that is text and whole."""
    if exchange.get("truncated"):
        return None
    if exchange.get("messages") is not None:
        turns = [_turn(each) for each in exchange["messages"]]
        if None in turns or not turns or exchange["messages"][-1].get("role") != "assistant":
            return None
        return {"messages": turns}
    prompt, completion = exchange.get("prompt"), exchange.get("completion")
    if isinstance(prompt, str) and isinstance(completion, str):
        return {"prompt": prompt, "completion": completion}
    return None


def _turn(message: Any) -> dict[str, str] | None:
    if not isinstance(message, Mapping) or message.get("role") not in _ROLES or message.get("tool_calls"):
        return None
    content = message.get("content")
    if isinstance(content, list):
        parts = [each.get("text") for each in content if isinstance(each, Mapping)]
        texts = [each for each in parts if isinstance(each, str)]
        content = "".join(texts) if len(texts) == len(content) else None
    return {"role": _ROLES[message["role"]], "content": content} if isinstance(content, str) else None
