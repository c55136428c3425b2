"""Engines that do as a test tells them, and a gateway in front of them, all in the test's own event loop."""

import asyncio
import functools
import inspect
import json
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.local.home import DEADLINE_SECONDS
from tunesmith_api.contract import GatewayRun, ProgressDocument, RunIdentity
from tunesmith_api.traffic import GatewayReport, RevisionTraffic
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.serve.gateway.running import End, listening, serve

CHAT = {"model": "bot", "messages": [{"role": "user", "content": "Hello"}]}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def embedding(text: str) -> list[float]:
    """Return how often each letter is in a text."""
    return [float(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"]


@dataclass
class Engine:
    """Answers "NAME answers you", whole or streamed, and keeps what it was asked."""

    name: str
    port: int = 0
    status: int = 200
    # Set: an answer, or the next word of a stream, goes out.
    go: asyncio.Event = field(default_factory=asyncio.Event)
    usage: bool = True
    # Whether the vectors that it gives mean something.
    encodes: bool = False
    # After so many words it breaks its stream off.
    breaks_after: int | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    # Requests whose client went away.
    dropped: int = 0
    running: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        return f"{self.name} answers you"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.running += 1
        try:
            if body.get("stream"):
                return await self._stream(request)
            await self.go.wait()
            return self._whole(request, body)
        except (asyncio.CancelledError, ConnectionError):
            self.dropped += 1
            raise
        finally:
            self.running -= 1

    def _whole(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        if self.status != 200:
            return web.json_response({"error": {"message": "no", "type": "server_error"}}, status=self.status)
        if request.path.endswith("embeddings"):
            inputs = body["input"]
            if self.encodes:
                vectors = [meaning(text) for text in inputs]
            elif isinstance(inputs, list) and len(inputs) > 1 and all(isinstance(each, str) for each in inputs):
                vectors = [embedding(text) for text in inputs]
            else:
                vectors = [[0.5]]
            data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
            return web.json_response({"object": "list", "data": data, "usage": USAGE})
        choice = {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": "stop"}
        if request.path == "/v1/completions":
            choice = {"index": 0, "text": self.text, "finish_reason": "stop"}
        return web.json_response({"id": "1", "choices": [choice], **({"usage": USAGE} if self.usage else {})})

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The chats that it was asked."""
        return [each for each in self.bodies if "messages" in each]

    @property
    def embedded(self) -> list[str]:
        """The texts that it has embedded."""
        return [text for each in self.bodies if "input" in each for text in each["input"]]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)

        async def event(delta: Any, **more: Any) -> None:
            choices = [] if delta is None else [{"index": 0, "delta": delta}]
            await response.write(b"data: " + json.dumps({"id": "1", "choices": choices, **more}).encode() + b"\n\n")

        await event({"role": "assistant", "content": ""})
        for number, word in enumerate(self.text.split()):
            await self.go.wait()
            if number == self.breaks_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            await event({"content": word if number == 0 else f" {word}"})
        if self.usage:
            await event(None, usage=USAGE)
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


def meaning(text: str) -> list[float]:
    """Return a vector of a text, the nearer to another one's the more words they share."""
    vector = [0.0] * 512
    for word in re.findall(r"\w+", text.lower()):
        vector[zlib.crc32(word.encode()) % len(vector)] += 1.0
    return vector


@asynccontextmanager
async def engine(name: str = "stable", *, waits: bool = False, **options: Any) -> AsyncIterator[Engine]:
    """Run an engine on a free port; with `waits` it answers nothing until its `go` is set."""
    made = Engine(name, **options)
    if not waits:
        made.go.set()
    application = web.Application()
    application.router.add_post("/v1/{path:.*}", made.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", made.port)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


def upstream(revision: int, engine: Engine | None, weight: int = 100, **more: Any) -> dict[str, Any]:
    """Return a revision as routes have it; without an engine it has no address."""
    return {"revision": revision, "weight": weight, **({"url": engine.url} if engine else {}), **more}


@dataclass
class Gateway:
    """A gateway that runs, and a client of it."""

    folder: Path
    url: str
    client: aiohttp.ClientSession
    end: End
    serving: asyncio.Task[None]

    def route(self, *upstreams: dict[str, Any], **policy: Any) -> int:
        """Write other routes; return their generation."""
        path = self.folder / "routes.json"
        generation = json.loads(path.read_text())["generation"] + 1 if path.exists() else 1
        write(path, json.dumps({"version": 1, "generation": generation, "upstreams": upstreams, **policy}))
        return int(generation)

    async def ask(
        self, body: Any = None, *, key: str | None = None, path: str = "/v1/chat/completions", **headers: str
    ) -> "Answer":
        """Ask for a chat, or by another path for something else."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given |= {"authorization": f"Bearer {key}"} if key else {}
        async with self.client.post(self.url + path, json=CHAT if body is None else body, headers=given) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **headers: str) -> "Answer":
        async with self.client.get(self.url + path, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    def progress(self) -> ProgressDocument:
        return ProgressReporter(self.folder / "progress.json").read()

    @property
    def report(self) -> GatewayReport:
        return self.progress().gateway or GatewayReport()

    @property
    def waiting(self) -> int:
        """How many requests are held."""
        return sum(each.waiting for each in self.report.revisions)

    def traffic(self, revision: int) -> RevisionTraffic:
        """What was reported of a revision by now."""
        found = (each for each in self.report.revisions if each.revision == revision)
        return next(found, RevisionTraffic(revision=revision))

    async def takes_up(self, *upstreams: dict[str, Any], **policy: Any) -> None:
        """Write other routes and wait until they are taken up."""
        generation = self.route(*upstreams, **policy)
        await eventually(lambda: self.report.generation == generation, self.serving)

    async def raw(self, request: bytes) -> bytes:
        """Send bytes over a connection of their own; return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.url.rpartition(":")[2]))
        writer.write(request)
        await writer.drain()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await reader.read()
        finally:
            writer.close()


@dataclass
class Answer:
    """What a client gets."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The assistant's words."""
        text: str = self.json["choices"][0]["message"]["content"]
        return text

    @property
    def code(self) -> str:
        """The code of an error."""
        code: str = self.json["error"]["code"]
        return code


def write(path: Path, text: str) -> None:
    """Write a file as the operator does: whole."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


@asynccontextmanager
async def gateway(
    folder: Path, *upstreams: dict[str, Any], run: dict[str, Any] | None = None, **policy: Any
) -> AsyncIterator[Gateway]:
    """Run a gateway with these routes; without any it has to wait for them."""
    identity = RunIdentity(kind="ModelServe", namespace="default", name="bot", uid="u", attempt=1)
    config = GatewayRun(run=identity, port=0, **(run or {}))
    reporter, end = ProgressReporter(folder / "progress.json"), End()
    listener = listening("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        serving = asyncio.create_task(serve(config, reporter, listener, end))
        made = Gateway(folder, url, client, end, serving)
        if upstreams or policy:
            made.route(*upstreams, **policy)
            await eventually(lambda: made.progress().state == "Running", serving)
        try:
            yield made
        finally:
            end.ask()
            await client.close()
            async with asyncio.timeout(DEADLINE_SECONDS):
                await serving


async def eventually(condition: Callable[[], bool], serving: asyncio.Task[None] | None = None) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            if serving is not None and serving.done():
                serving.result()
            await asyncio.sleep(0.005)


def story(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*arguments: Any, **options: Any) -> None:
        asyncio.run(test(*arguments, **options))  # type: ignore[arg-type]

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run
