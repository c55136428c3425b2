"""The formats of records: one small function each, its schema in the docstring, in one registry."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith_api.data import DataFormat
from tunesmith_runtime.data.formats import feedback, instructions, labels, pairs, preferences, questions
from tunesmith_runtime.data.formats.fields import BadRecordError, Fields, from_json, listed
from tunesmith_runtime.data.records import Record
from tunesmith_runtime.data.rows import Row

__all__ = ["FORMATS", "BadRecordError", "Format", "advice", "parse"]


@dataclass(frozen=True)
class Format:
    """How a record is written: its columns, and the function that reads one.

    The function yields None for a record with an empty answer or text, and raises BadRecordError. `otherwise` are
    columns that a record may have in place of those required. `from_text` reads a column's values from a file that
    knows only strings.
    """

    parse: Callable[[Fields], Iterator[Record | None]]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()
    from_text: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that the format knows."""
        return tuple(dict.fromkeys((*self.required, *self.otherwise, *self.optional)))

    def fits(self, columns: Collection[str]) -> bool:
        """Tell whether the required columns are there."""
        return set(columns) >= set(self.required) or bool(self.otherwise and set(columns) >= set(self.otherwise))

    def expectation(self) -> str:
        """Return the columns as a clause."""
        wanted = listed(self.required)
        if self.otherwise:
            wanted = f"{wanted}, or {listed(self.otherwise)},"
        return f"{wanted} and optionally {listed(self.optional)}" if self.optional else wanted


FORMATS: dict[DataFormat, Format] = {
    "alpaca": Format(instructions.alpaca, ("instruction", "output"), ("input",)),
    "dolly": Format(instructions.dolly, ("instruction", "context", "response"), ("category",)),
    "squad": Format(
        questions.squad,
        ("paragraphs",),
        ("title", "id"),
        otherwise=("context", "question", "answers"),
        from_text={"paragraphs": from_json, "answers": from_json},
    ),
    "messages": Format(instructions.messages, ("messages",), from_text={"messages": from_json}),
    "sharegpt": Format(instructions.sharegpt, ("conversations",), from_text={"conversations": from_json}),
    "promptCompletion": Format(instructions.prompt_completion, ("prompt", "completion")),
    "text": Format(instructions.text, ("text",)),
    "preference": Format(preferences.preference, ("chosen", "rejected"), ("prompt",)),
    "pairs": Format(
        pairs.pairs,
        ("prompt", "answerA", "answerB"),
        otherwise=("prompt", "responses"),
        from_text={"responses": from_json},
    ),
    "kto": Format(preferences.kto, ("prompt", "completion", "label"), from_text={"label": preferences.truth}),
    "feedback": Format(
        feedback.feedback,
        ("messages", "rating"),
        ("correction",),
        otherwise=("prompt", "completion", "rating"),
        from_text={"messages": from_json, "rating": feedback.rating},
    ),
    "textClassification": Format(
        labels.text_classification, ("text", "label"), ("text_pair",), from_text={"label": labels.number}
    ),
    "tokenClassification": Format(
        labels.token_classification, ("tokens", "tags"), from_text={"tokens": from_json, "tags": from_json}
    ),
}


def parse(name: DataFormat, row: Row) -> list[Record | None]:
    """Return the records of a row, None for each that has an empty answer or text. Raises BadRecordError."""
    fmt = FORMATS[name]
    if not fmt.fits(row.value):
        found = ", ".join(row.value) or "none"
        raise BadRecordError(f"the columns are {found}; format {name} has {fmt.expectation()}")
    fields = row.value
    if row.untyped:
        fields = {column: fmt.from_text.get(column, str)(value) for column, value in fields.items()}
    return list(fmt.parse(fields))


def advice(name: DataFormat, row: Row) -> str:
    """Return a hint at another format that a row with the wrong columns has, or nothing."""
    if FORMATS[name].fits(row.value):
        return ""
    # Those that ask for more go first: a text with a label is more than a text.
    for other in sorted(FORMATS, key=lambda each: -len(FORMATS[each].required)):
        try:
            parse(other, row)
        except BadRecordError:
            continue
        return f". These look like format: {other}"
    return ""
