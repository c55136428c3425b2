"""Who answers in an evaluation: a model of this process, or one behind an endpoint."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from tunesmith_runtime.data.records import Answerable
from tunesmith_runtime.spending import Spending
from tunesmith_runtime.storage.journal import Entry, Journal

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Generation:
    """How answers are drawn: greedily at temperature 0."""

    max_new_tokens: int
    temperature: float = 0.0
    # Of draws of one prompt: each number gives an answer of its own.
    seed: int = 0


class Respondent(Protocol):
    """Answers questions."""

    known: "Answers"

    def answer(self, records: Sequence[Answerable], generation: Generation, progress: Progress) -> list[str]:
        """Return an answer to each record's prompt, in their order, without surrounding whitespace.

        What the record itself has for an answer is not looked at. `progress` is called with the number of records that
        have just been answered. Answers that are known are not asked for again. Raises RunError.
        """


class Answers:
    """What is known of a model already, so that nothing is asked twice: from earlier attempts, and from this one."""

    def __init__(self, model: str, journal: Journal | None = None, spending: Spending | None = None) -> None:
        """Take what tells the model from all others, and where its answers are kept beyond this process.

        `spending` counts what is asked of endpoints for those that are not known.
        """
        self.spending = spending or Spending()
        self._model = model
        self._journal = journal
        self._entries: dict[str, Entry] = {}

    @property
    def used(self) -> frozenset[str]:
        """The keys of all that was asked for or added."""
        return frozenset(self._entries)

    def of(self, model: str) -> "Answers":
        """Return what is known of another model, kept in the same place."""
        other = Answers(model, self._journal, self.spending)
        other._entries = self._entries
        return other

    def key(self, *question: Any) -> str:
        """Return what an answer to a question is kept under; its parts are what it depends on, as JSON values."""
        parts = json.dumps([self._model, *question], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()

    def get(self, key: str) -> Entry | None:
        """Return what is known."""
        found = self._entries.get(key) or (self._journal.get(key) if self._journal else None)
        if found is not None:
            self._entries[key] = found
        return found

    def add(self, entries: Mapping[str, Entry]) -> None:
        """Keep what was found out, at once."""
        self._entries |= entries
        if self._journal:
            self._journal.add(entries)


def answer_key(known: Answers, prompt: Any, generation: Generation) -> str:
    """Return the key of an answer to a prompt, which is text, tokens or messages."""
    return known.key("answer", prompt, asdict(generation))
