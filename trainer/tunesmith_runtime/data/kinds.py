"""What kinds of records there are, in words, and whether a method learns from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tunesmith_api.data import DatasetSource
from tunesmith_runtime.data.records import (
    Completion,
    Conversation,
    LabelledText,
    Opinion,
    Pair,
    PlainText,
    Preference,
    Question,
    Rated,
    Record,
    TaggedTokens,
)
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.train.recipes.recipe import Recipe

_WORDS: dict[type[Record], str] = {
    Conversation: "conversations",
    Completion: "prompts with completions",
    PlainText: "plain texts",
    Question: "questions on a context",
    Preference: "pairs of a better and a worse answer",
    Pair: "pairs of answers that nobody has judged",
    Rated: "answers that are wanted or not",
    Opinion: "answers with feedback",
    LabelledText: "texts with a label",
    TaggedTokens: "words with tags",
}


class RecordSource(Protocol):
    """The records of one dataset, which can be gone through more than once."""

    @property
    def digest(self) -> str:
        """SHA-256 of what they were read from."""

    @property
    def empty(self) -> int:
        """How many were passed over because they are empty; known once they have been gone through."""

    def __iter__(self) -> Iterator[Record]:
        """Read them."""


@dataclass(frozen=True)
class CheckedRecords:
    """The records of a dataset; going through them raises DataError at one that the recipe does not learn from."""

    place: str
    source: DatasetSource
    records: RecordSource
    recipe: Recipe

    def __iter__(self) -> Iterator[Record]:
        """Yield the records."""
        for record in self.records:
            if not isinstance(record, self.recipe.accepts):
                raise DataError(
                    f"{self.place} is of format {self.source.format}, which gives {_WORDS[type(record)]}, and method "
                    f"{self.recipe.method} of task {self.recipe.task} learns from {_listed(self.recipe)}; use a "
                    "dataset of another format, or another method"
                )
            yield record


def _listed(recipe: Recipe) -> str:
    words = [_WORDS[kind] for kind in recipe.accepts]
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
