"""Questions whose answers stand in a text."""

from collections.abc import Iterator
from typing import Any

from tunesmith_runtime.data.formats.fields import (
    BadRecordError,
    Fields,
    as_text,
    kind,
    list_of,
    objects_of,
    text_of,
    text_or_none,
)
from tunesmith_runtime.data.records import Answer, Question, Record

_SHOWN = 40


def squad(fields: Fields) -> Iterator[Record | None]:
    """Read SQuAD 1.1 or 2.0: an article of it as published, or one question as on the Hub.

    `{"title": str, "paragraphs": [{"context": str, "qas": [{"id": str, "question": str,
    "answers": [{"text": str, "answer_start": int}]}]}]}`, the articles being the list under `data`; or
    `{"id": str, "title": str, "context": str, "question": str, "answers": {"text": [str], "answer_start": [int]}}`.
    A question without answers cannot be answered from its context; is_impossible and plausible_answers are not used.
    """
    if "paragraphs" not in fields:
        answers = fields["answers"]
        pairs = _columns(answers) if isinstance(answers, dict) else _objects(fields, "")
        yield _question(fields, fields, "", pairs)
        return
    for paragraph_path, paragraph in objects_of(fields, "paragraphs"):
        for path, question in objects_of(paragraph, "qas", paragraph_path):
            yield _question(paragraph, question, path, _objects(question, path), paragraph_path)


def _question(
    paragraph: Fields, question: Fields, path: str, answers: Iterator[tuple[str, Any, Any]], paragraph_path: str = ""
) -> Question:
    context = text_of(paragraph, "context", paragraph_path)
    return Question(
        id=text_or_none(question, "id"),
        question=text_of(question, "question", path),
        context=context,
        answers=tuple(_answer(text, start, where, context) for where, text, start in answers),
    )


def _objects(question: Fields, path: str) -> Iterator[tuple[str, Any, Any]]:
    for where, answer in objects_of(question, "answers", path):
        for column in ("text", "answer_start"):
            if column not in answer:
                raise BadRecordError(f"{where}.{column} is missing")
        yield where, answer["text"], answer["answer_start"]


def _columns(answers: Fields) -> Iterator[tuple[str, Any, Any]]:
    texts, starts = list_of(answers, "text", "answers"), list_of(answers, "answer_start", "answers")
    if len(texts) != len(starts):
        raise BadRecordError(f"answers has {len(texts)} in text and {len(starts)} in answer_start; give one for each")
    for index, (text, start) in enumerate(zip(texts, starts, strict=True)):
        yield f"answers[{index}]", text, start


def _answer(text: object, start: object, where: str, context: str) -> Answer:
    answer = as_text(text, f"{where}.text")
    if not isinstance(start, int) or isinstance(start, bool):
        raise BadRecordError(f"{where}.answer_start is {kind(start)}; it must be a whole number")
    there = context[start : start + len(answer)] if start >= 0 else ""
    if there != answer:
        raise BadRecordError(
            f"{where}: the context has {_short(there)} at answer_start {start}, not {_short(answer)}; "
            "answer_start counts characters from 0"
        )
    return Answer(answer, start)


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...") if text else "nothing"
