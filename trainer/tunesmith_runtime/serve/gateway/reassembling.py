"""Answers put together again from the events that they were streamed in."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_SEPARATOR = re.compile(rb"\r?\n\r?\n")


def texts(answer: bytes) -> list[dict[str, Any]]:
    """Return the answers of a chat or a completion, as messages in the order of their index.

    Takes a whole answer in JSON, or all the events of a streamed one. What cannot be read is passed over.
    """
    if answer.lstrip().startswith(b"{"):
        return [_message(choice) for choice in _choices(answer)]
    messages: dict[int, dict[str, Any]] = {}
    for event in _SEPARATOR.split(answer):
        for choice in _choices(event.strip().removeprefix(b"data:")):
            message = messages.setdefault(int(choice.get("index") or 0), {"role": "assistant", "content": ""})
            _add(message, choice)
    return [messages[index] for index in sorted(messages)]


def _choices(text: bytes) -> Iterator[Mapping[str, Any]]:
    try:
        value = json.loads(text)
    except ValueError:
        return
    choices = value.get("choices") if isinstance(value, Mapping) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping):
            yield choice


def _message(choice: Mapping[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    if isinstance(message, Mapping):
        return {"role": "assistant", **{name: value for name, value in message.items() if value is not None}}
    return {"role": "assistant", "content": choice.get("text") or ""}


def _add(message: dict[str, Any], choice: Mapping[str, Any]) -> None:
    """Add what an event says to what is there."""
    delta = choice.get("delta")
    if not isinstance(delta, Mapping):
        message["content"] += choice.get("text") or ""
        return
    for name, value in delta.items():
        if name == "tool_calls" and isinstance(value, list):
            _add_calls(message.setdefault("tool_calls", []), value)
        elif name != "role" and isinstance(value, str):
            message[name] = message.get(name, "") + value


def _add_calls(calls: list[dict[str, Any]], parts: list[Any]) -> None:
    for part in parts:
        if not isinstance(part, Mapping):
            continue
        index = part.get("index")
        index = index if isinstance(index, int) and 0 <= index <= len(calls) else len(calls)
        if index == len(calls):
            calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[index], part.get("function")
        if isinstance(part.get("id"), str):
            call["id"] = part["id"]
        for name in ("name", "arguments"):
            if isinstance(function, Mapping) and isinstance(function.get(name), str):
                call["function"][name] += function[name]
