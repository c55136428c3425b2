"""The texts that a record is made of."""

from itertools import takewhile

from tunesmith_runtime.data.records import (
    Answerable,
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

SYSTEM = "system"


def texts(record: Record, *, system: bool = True) -> tuple[str, ...]:
    """Return the texts of a record in their order, those that two answers share once.

    Words with tags are one text, with spaces between. Labels, the names of roles and the further references of an
    evaluation record are no texts; without `system`, neither are system messages.
    """
    match record:
        case Conversation():
            return tuple(each.content for each in record.messages if system or each.role != SYSTEM)
        case Completion():
            return (record.prompt, record.completion)
        case PlainText():
            return (record.text,)
        case Question():
            return (record.question, record.context)
        case Preference(one, other) | Pair(one, other):
            first, second = texts(one, system=system), texts(other, system=system)
            shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
            return first + second[shared:]
        case Rated():
            return texts(record.answer, system=system)
        case Opinion():
            found = (each for each in (record.answer, record.corrected) if each is not None)
            return tuple(text for each in found for text in texts(each, system=system))
        case LabelledText():
            return (record.text,) if record.text_pair is None else (record.text, record.text_pair)
        case TaggedTokens():
            return (" ".join(record.tokens),)


def telling(record: Record) -> str | None:
    """Return the text that tells a record from others with the same prompt or context; None where there is no such."""
    match record:
        case Conversation() | Completion():
            return _answer(record)
        case Rated():
            return _answer(record.answer)
        case Preference(one, other) | Pair(one, other):
            return f"{_answer(one)}\n{_answer(other)}"
        case Question():
            return record.question
        case PlainText() | LabelledText() | TaggedTokens() | Opinion():
            return None


def verdict(record: Record) -> object:
    """Return what is to be predicted of a text besides words: a class, a number, or whether it is wanted."""
    match record:
        case LabelledText():
            return record.label
        case Rated():
            return record.desirable
        case _:
            return None


def _answer(record: Answerable) -> str:
    return record.messages[-1].content if isinstance(record, Conversation) else record.completion
