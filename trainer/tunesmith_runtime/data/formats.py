"""The formats of records: one small function each, its schema in the docstring, in one registry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tunesmith_api.finetunejob import DataFormat, DatasetSource
from tunesmith_runtime.data.problems import Problems
from tunesmith_runtime.data.reading import read_rows
from tunesmith_runtime.data.records import ASSISTANT, Completion, Conversation, Message, PlainText, Record
from tunesmith_runtime.errors import DataError

ROLES = ("system", "user", ASSISTANT)

Fields = dict[str, Any]


class BadRecordError(ValueError):
    """What is wrong with one record, without its place."""


@dataclass(frozen=True)
class Format:
    """How a record is written: its columns, and the function that reads one.

    The function yields None for a record with an empty answer or text, and raises BadRecordError.
    """

    parse: Callable[[Fields], Iterator[Record | None]]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def fits(self, fields: Fields) -> bool:
        """Tell whether the required columns are there."""
        return fields.keys() >= set(self.required)

    def expectation(self) -> str:
        """Return the columns as a clause."""
        wanted = _listed(self.required)
        return f"{wanted} and optionally {_listed(self.optional)}" if self.optional else wanted


@dataclass(frozen=True)
class ParsedDataset:
    """The records of a file; `empty` counts those left out for an empty answer or text."""

    uri: str
    digest: str
    records: tuple[Record, ...]
    empty: int


def read_records(source: DatasetSource) -> ParsedDataset:
    """Return the records of a file in its order, without those whose answer or text is empty.

    Raises DataError for a file that cannot be read, for columns that are not the format's, for values of a wrong
    type, and when every record is empty.
    """
    raw = read_rows(source)
    fmt = FORMATS[source.format]
    problems = Problems(raw.uri, f"records are not of format {source.format}")
    records: list[Record] = []
    empty = 0
    advice = ""
    for row in raw.rows:
        try:
            for record in _parse(fmt, source.format, row.value):
                if record is None:
                    empty += 1
                else:
                    records.append(record)
        except BadRecordError as error:
            problems.add(row.place, str(error))
            advice = advice or _advice(row.value, fmt)
    problems.raise_if_any(advice)
    if not records:
        raise DataError(f"{raw.uri}: every record ({empty}) has an empty answer or text; nothing is left to use")
    return ParsedDataset(raw.uri, raw.digest, tuple(records), empty)


def alpaca(fields: Fields) -> Iterator[Record | None]:
    """Read `{"instruction": str, "input": str (optional), "output": str}`."""
    question = _joined(_text(fields, "instruction"), _text_or_none(fields, "input"))
    yield _exchange(question, (_text(fields, "output"),))


def dolly(fields: Fields) -> Iterator[Record | None]:
    """Read `{"instruction": str, "context": str, "response": str, "category": str (not used)}`."""
    question = _joined(_text(fields, "instruction"), _text_or_none(fields, "context"))
    yield _exchange(question, (_text(fields, "response"),))


def squad(fields: Fields) -> Iterator[Record | None]:
    """Read an article of SQuAD 1.1, each of whose questions becomes a record.

    `{"title": str, "paragraphs": [{"context": str, "qas": [{"id": str, "question": str,
    "answers": [{"text": str, "answer_start": int}]}]}]}`, the articles being the list under `data`. The first answer
    is the one to learn, all of them are references.
    """
    for paragraph_path, paragraph in _objects(fields, "paragraphs", ""):
        context = _text(paragraph, "context", paragraph_path)
        for path, question in _objects(paragraph, "qas", paragraph_path):
            answers = [_text(answer, "text", where) for where, answer in _objects(question, "answers", path)]
            distinct = dict.fromkeys(answer for answer in answers if answer.strip())
            yield _exchange(_joined(_text(question, "question", path), context), tuple(distinct))


def messages(fields: Fields) -> Iterator[Record | None]:
    """Read `{"messages": [{"role": "system" | "user" | "assistant", "content": str}]}`, ending with the assistant."""
    yield _conversation(_messages(fields, "messages"), first_scored=0)


def prompt_completion(fields: Fields) -> Iterator[Record | None]:
    """Read `{"prompt": P, "completion": C}`, both strings (raw text) or both lists of messages (a conversation)."""
    match fields["prompt"], fields["completion"]:
        case str(), str():
            completion = _text(fields, "completion")
            yield Completion(_text(fields, "prompt"), completion) if completion.strip() else None
        case list(), list():
            prompt = _messages(fields, "prompt")
            yield _conversation(prompt + _messages(fields, "completion"), first_scored=len(prompt))
        case prompt, completion:
            raise BadRecordError(
                f"prompt is {_kind(prompt)} and completion is {_kind(completion)}; "
                "both must be strings, or both lists of messages"
            )


def text(fields: Fields) -> Iterator[Record | None]:
    """Read `{"text": str}`."""
    content = _text(fields, "text")
    yield PlainText(content) if content.strip() else None


FORMATS: dict[DataFormat, Format] = {
    "alpaca": Format(alpaca, ("instruction", "output"), ("input",)),
    "dolly": Format(dolly, ("instruction", "context", "response"), ("category",)),
    "squad": Format(squad, ("paragraphs",), ("title",)),
    "messages": Format(messages, ("messages",)),
    "promptCompletion": Format(prompt_completion, ("prompt", "completion")),
    "text": Format(text, ("text",)),
}


def _parse(fmt: Format, name: str, fields: Fields) -> list[Record | None]:
    if not fmt.fits(fields):
        found = ", ".join(fields) or "none"
        raise BadRecordError(f"the columns are {found}; format {name} has {fmt.expectation()}")
    return list(fmt.parse(fields))


def _advice(fields: Fields, asked: Format) -> str:
    """Return a hint at another format that a record with the wrong columns has, or nothing."""
    if asked.fits(fields):
        return ""
    for name, fmt in FORMATS.items():
        try:
            _parse(fmt, name, fields)
        except BadRecordError:
            continue
        return f". These look like format: {name}"
    return ""


def _exchange(question: str, answers: tuple[str, ...]) -> Conversation | None:
    if not answers or not answers[0].strip():
        return None
    return Conversation((Message("user", question), Message(ASSISTANT, answers[0])), answers)


def _conversation(turns: tuple[Message, ...], first_scored: int) -> Conversation | None:
    if not turns:
        raise BadRecordError("there are no messages")
    if turns[-1].role != ASSISTANT:
        raise BadRecordError(f"the last message is from {turns[-1].role}; it must be from the {ASSISTANT}")
    scored = [turn for turn in turns[first_scored:] if turn.role == ASSISTANT]
    if not all(turn.content.strip() for turn in scored) or not scored:
        return None
    return Conversation(turns, first_scored=first_scored)


def _messages(fields: Fields, column: str) -> tuple[Message, ...]:
    turns: list[Message] = []
    for path, value in _objects(fields, column, ""):
        role = _text(value, "role", path)
        if role not in ROLES:
            raise BadRecordError(f"{path}.role is {role!r}; it must be {_listed(ROLES, 'or')}")
        turns.append(Message(role, _text(value, "content", path)))
    return tuple(turns)


def _objects(fields: Fields, column: str, path: str) -> Iterator[tuple[str, Fields]]:
    """Yield the objects of a list with the path of each, such as `messages[0]`."""
    where = f"{path}.{column}".lstrip(".")
    if column not in fields:
        raise BadRecordError(f"{where} is missing")
    values = fields[column]
    if not isinstance(values, list):
        raise BadRecordError(f"{where} is {_kind(values)}; it must be a list")
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise BadRecordError(f"{where}[{index}] is {_kind(value)}; it must be an object")
        yield f"{where}[{index}]", value


def _text(fields: Fields, column: str, path: str = "") -> str:
    where = f"{path}.{column}".lstrip(".")
    if column not in fields:
        raise BadRecordError(f"{where} is missing")
    value = fields[column]
    if not isinstance(value, str):
        raise BadRecordError(f"{where} is {_kind(value)}; it must be a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = value[error.start]
        raise BadRecordError(
            f"{where} holds half a surrogate pair (\\u{ord(half):04x}), which is no character"
        ) from None
    return value


def _text_or_none(fields: Fields, column: str) -> str:
    return "" if fields.get(column) is None else _text(fields, column)


def _joined(question: str, context: str) -> str:
    return f"{question}\n\n{context}" if context.strip() else question


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return f"the {'boolean' if isinstance(value, bool) else 'number'} {str(value).lower()}"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def _listed(words: tuple[str, ...], last: str = "and") -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]
