"""Personal data in the texts of a record is replaced by its kind in brackets."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tunesmith_runtime.data.quality.personal import personal_data
from tunesmith_runtime.data.quality.spans import Edited, Span
from tunesmith_runtime.data.quality.texts import texts
from tunesmith_runtime.data.records import (
    Answer,
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


def redact(record: Record) -> tuple[Record, Counter[str]]:
    """Return the record without personal data, and how often each kind was replaced in its texts.

    What belongs together stays so. Answers in a context are found where they now stand, as the placeholder where they
    were replaced. Data that goes over several tagged words puts the placeholder into each of them, so that every tag
    keeps its word.
    """
    found = Counter(span.kind for text in texts(record) for span in personal_data(text))
    return _redacted(record), found


def _redacted(record: Record) -> Record:
    match record:
        case Conversation() | Completion():
            return _answerable(record)
        case PlainText():
            return PlainText(_text(record.text))
        case Question():
            return _question(record)
        case Preference():
            return Preference(_answerable(record.chosen), _answerable(record.rejected))
        case Pair():
            return Pair(_answerable(record.first), _answerable(record.second))
        case Rated():
            return replace(record, answer=_answerable(record.answer))
        case Opinion(answer, _, corrected):
            return replace(
                record, answer=answer and _answerable(answer), corrected=corrected and _answerable(corrected)
            )
        case LabelledText():
            pair = None if record.text_pair is None else _text(record.text_pair)
            return replace(record, text=_text(record.text), text_pair=pair)
        case TaggedTokens():
            return replace(record, tokens=_tokens(record.tokens))


def _answerable(record: Conversation | Completion) -> Conversation | Completion:
    if isinstance(record, Completion):
        return Completion(_text(record.prompt), _text(record.completion))
    messages = tuple(replace(each, content=_text(each.content)) for each in record.messages)
    return replace(record, messages=messages, references=tuple(_text(each) for each in record.references))


def _question(record: Question) -> Question:
    context = Edited(record.context, personal_data(record.context))
    answers: list[Answer] = []
    for answer in record.answers:
        start, end = context.moved(answer.start, answer.start + len(answer.text))
        answers.append(Answer(context.text[start:end], start))
    return replace(record, question=_text(record.question), context=context.text, answers=tuple(answers))


def _tokens(tokens: Sequence[str]) -> tuple[str, ...]:
    spans = personal_data(" ".join(tokens))
    redacted: list[str] = []
    start = 0
    for token in tokens:
        end = start + len(token)
        inside = [
            Span(max(span.start, start) - start, min(span.end, end) - start, span.kind)
            for span in spans
            if span.start < end and span.end > start
        ]
        redacted.append(Edited(token, inside).text)
        start = end + 1
    return tuple(redacted)


def _text(text: str) -> str:
    return Edited(text, personal_data(text)).text
