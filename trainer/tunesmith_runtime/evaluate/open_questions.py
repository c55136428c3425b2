"""Questions to which no reference answer has to say what is right: a judge or people do."""

from collections.abc import Sequence

from tunesmith_api.base import StorageUri
from tunesmith_api.data import DatasetSource, TextFormat
from tunesmith_runtime.data.records import (
    ASSISTANT,
    Answerable,
    Conversation,
    Message,
    PlainText,
    references,
    shown_prompt,
)
from tunesmith_runtime.data.streams import TextRecord, read_records
from tunesmith_runtime.evaluate.samples import AnswerSample


def put_to_chat(record: TextRecord) -> Answerable:
    """Return the record, a text as the user's turn of a chat that is to be answered."""
    if isinstance(record, PlainText):
        return Conversation((Message("user", record.text), Message(ASSISTANT, "")))
    return record


def read(uri: StorageUri, file_format: TextFormat) -> tuple[tuple[Answerable, ...], int]:
    """Return the questions of a file, and how many were left out for being empty. Raises DataError."""
    parsed = read_records(DatasetSource(uri=uri, format=file_format))
    return tuple(put_to_chat(record) for record in parsed.records), parsed.empty


def answered(records: Sequence[Answerable], answers: Sequence[str]) -> list[AnswerSample]:
    """Return a sample of each question with its answer, and no score yet."""
    return [
        AnswerSample(index, shown_prompt(record), answer, _references(record), {})
        for index, (record, answer) in enumerate(zip(records, answers, strict=True))
    ]


def _references(record: Answerable) -> tuple[str, ...]:
    return tuple(each for each in references(record) if each.strip())
