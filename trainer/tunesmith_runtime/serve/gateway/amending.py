"""Answers with something of the gateway's own in them: the field `tunesmith`."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tunesmith_runtime.serve.gateway.outgoing import JSON, Recipient

_SEPARATOR = re.compile(rb"(\r?\n\r?\n)")
# What has no end by then is no event, and goes by as it is.
_LONGEST_EVENT = 1024 * 1024


class Events:
    """A stream, cut into its events, each with the empty line that ends it."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, part: bytes) -> list[bytes]:
        """Return the events that are complete now."""
        *pieces, self._rest = _SEPARATOR.split(self._rest + part)
        events = [text + end for text, end in zip(pieces[::2], pieces[1::2], strict=True)]
        if len(self._rest) > _LONGEST_EVENT:
            events.append(self.rest())
        return events

    def rest(self) -> bytes:
        """Return what is not complete."""
        rest, self._rest = self._rest, b""
        return rest


def data_of(event: bytes) -> bytes:
    """Return what an event says."""
    return event.strip().removeprefix(b"data:").strip()


class Amended:
    """A client whose answer gets a field: in its body, or as a chunk of its own before the last word of a stream."""

    def __init__(self, client: Recipient, field: Mapping[str, Any]) -> None:
        self._client = client
        self._field = field
        self._events = Events()
        self._first: Mapping[str, Any] | None = None
        self._well = False
        self._told = False

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every answer."""
        return self._client.headers

    @property
    def started(self) -> bool:
        """Whether a part of the answer has been sent."""
        return self._client.started

    @property
    def sends_events(self) -> bool:
        """Whether the answer is a stream of events."""
        return self._client.sends_events

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the first line and the headers."""
        self._well = status == 200
        await self._client.start(status, headers)

    async def write(self, body: bytes) -> None:
        """Send a part of the body, event by event if it consists of such."""
        if not self._amends:
            await self._client.write(body)
            return
        for event in self._events.take(body):
            data = data_of(event)
            if data == b"[DONE]":
                await self._tell()
            elif self._first is None and data.startswith(b"{"):
                self._first = _parsed(data)
            await self._client.write(event)

    async def end(self, body: bytes = b"") -> None:
        """Send the last part of the body."""
        if self._amends:
            rest = self._events.rest()
            if rest:
                await self._client.write(rest)
            if not body:  # with one, the stream was broken off
                await self._tell()
        await self._client.end(body)

    async def answer(
        self, status: int, body: bytes, kind: str = JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer."""
        value = _parsed(body) if status == 200 else None
        if value is not None:
            body = json.dumps({**value, "tunesmith": self._field}).encode()
        await self._client.answer(status, body, kind, headers)

    @property
    def _amends(self) -> bool:
        return self._well and self._client.sends_events

    async def _tell(self) -> None:
        if self._told:
            return
        self._told = True
        of_all = {name: value for name, value in (self._first or {}).items() if name in {"id", "created", "model"}}
        chunk = {**of_all, "object": "chat.completion.chunk", "choices": [], "tunesmith": self._field}
        await self._client.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


def _parsed(text: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, Mapping) else None
