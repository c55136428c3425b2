"""Prompts with answers, conversations and plain text."""

from collections.abc import Iterator

from tunesmith_runtime.data.formats.fields import (
    BadRecordError,
    Fields,
    kind,
    listed,
    objects_of,
    text_of,
    text_or_none,
)
from tunesmith_runtime.data.formats.turns import conversation, exchange, joined, turns_of
from tunesmith_runtime.data.records import ASSISTANT, Answerable, Completion, Message, PlainText, Record

_ROLE_OF = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "assistant": ASSISTANT,
}


def alpaca(fields: Fields) -> Iterator[Record | None]:
    """Read `{"instruction": str, "input": str (optional), "output": str}`."""
    question = joined(text_of(fields, "instruction"), text_or_none(fields, "input"))
    yield exchange(question, (text_of(fields, "output"),))


def dolly(fields: Fields) -> Iterator[Record | None]:
    """Read `{"instruction": str, "context": str, "response": str, "category": str (not used)}`."""
    question = joined(text_of(fields, "instruction"), text_or_none(fields, "context"))
    yield exchange(question, (text_of(fields, "response"),))


def messages(fields: Fields) -> Iterator[Record | None]:
    """Read `{"messages": [{"role": "system" | "user" | "assistant", "content": str}]}`, ending with the assistant."""
    yield conversation(turns_of(fields, "messages"))


def sharegpt(fields: Fields) -> Iterator[Record | None]:
    """Read `{"conversations": [{"from": "system" | "human" | "gpt", "value": str}]}`, ending with the assistant.

    The user is human or user, the assistant gpt, chatgpt or assistant.
    """
    turns: list[Message] = []
    for path, value in objects_of(fields, "conversations"):
        speaker = text_of(value, "from", path)
        if speaker not in _ROLE_OF:
            raise BadRecordError(f"{path}.from is {speaker!r}; it must be {listed(tuple(_ROLE_OF), 'or')}")
        turns.append(Message(_ROLE_OF[speaker], text_of(value, "value", path)))
    yield conversation(tuple(turns))


def prompt_completion(fields: Fields) -> Iterator[Record | None]:
    """Read `{"prompt": P, "completion": C}`, both strings (raw text) or both lists of messages (a conversation)."""
    yield answered(fields)


def answered(fields: Fields) -> Answerable | None:
    """Return a prompt and its completion, None when that is empty."""
    match fields["prompt"], fields["completion"]:
        case str(), str():
            completion = text_of(fields, "completion")
            return Completion(text_of(fields, "prompt"), completion) if completion.strip() else None
        case list(), list():
            prompt = turns_of(fields, "prompt")
            return conversation(prompt + turns_of(fields, "completion"), first_scored=len(prompt))
        case prompt, completion:
            raise BadRecordError(
                f"prompt is {kind(prompt)} and completion is {kind(completion)}; "
                "both must be strings, or both lists of messages"
            )


def text(fields: Fields) -> Iterator[Record | None]:
    """Read `{"text": str}`."""
    content = text_of(fields, "text")
    yield PlainText(content) if content.strip() else None
