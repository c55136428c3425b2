"""Answers to clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from tunesmith_runtime.serve.gateway.incoming import Receive
from tunesmith_runtime.serve.gateway.refusals import ClientGoneError

Send = Callable[[Any], Awaitable[None]]
JSON = "application/json"


class Recipient(Protocol):
    """What an answer is sent to: a client, or what does something to the answer before."""

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every answer."""

    @property
    def started(self) -> bool:
        """Whether a part of the answer has been sent."""

    @property
    def sends_events(self) -> bool:
        """Whether the answer is a stream of events."""

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the first line and the headers."""

    async def write(self, body: bytes) -> None:
        """Send a part of the body."""

    async def end(self, body: bytes = b"") -> None:
        """Send the last part of the body."""

    async def answer(
        self, status: int, body: bytes, kind: str = JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer."""


class Client:
    """Who waits for an answer."""

    def __init__(self, receive: Receive, send: Send, request_id: str) -> None:
        self.receive = receive
        self._send = send
        self._gone: asyncio.Task[None] | None = None
        self.status: int | None = None
        self.sends_events = False
        # Headers of every answer to this request.
        self.headers = {"x-request-id": request_id}

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Raise ClientGoneError from the code within as soon as the client has gone. The body must have been read."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine
        gone = self._gone = asyncio.create_task(self._until_gone())

        def interrupt(ended: asyncio.Task[None]) -> None:
            if not ended.cancelled() and self._gone is ended:
                task.cancel()

        gone.add_done_callback(interrupt)
        try:
            yield
        except asyncio.CancelledError:
            if self._gone is gone and gone.done() and not gone.cancelled():
                task.uncancel()
                raise ClientGoneError from None
            raise
        finally:
            self._unwatch()

    async def _until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def _unwatch(self) -> None:
        gone, self._gone = self._gone, None
        if gone is not None:
            gone.cancel()

    @property
    def started(self) -> bool:
        """Whether a part of the answer has been sent."""
        return self.status is not None

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the first line and the headers."""
        self.status = status
        self.sends_events = headers.get("content-type", "").startswith("text/event-stream")
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in {**headers, **self.headers}.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, body: bytes) -> None:
        """Send a part of the body, at once."""
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, body: bytes = b"") -> None:
        """Send the last part of the body."""
        self._unwatch()  # what comes now is the end of an answer, not of a client's patience
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def answer(
        self, status: int, body: bytes, kind: str = JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer."""
        await self.start(status, {"content-type": kind, "content-length": str(len(body)), **(headers or {})})
        await self.end(body)

    async def answer_json(self, value: Any, status: int = 200) -> None:
        """Send a whole answer in JSON."""
        await self.answer(status, json.dumps(value).encode())
