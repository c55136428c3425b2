"""Routes from a ConfigMap, as an API server gives and watches it: over HTTPS, with the pod's credentials."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from tests.gateways import eventually, story
from tunesmith_runtime.serve.gateway.cluster_routes import WatchedRoutes

PATH = "/api/v1/namespaces/team-a/configmaps"


@dataclass
class ApiServer:
    """Has one ConfigMap, or none, and tells who watches of its changes."""

    document: str | None = None
    version: int = 1
    # Versions before it can no longer be watched from.
    known_from: int = 0
    status: int = 200
    asked: list[tuple[str, str]] = field(default_factory=list)
    _events: list[tuple[int, str, Any]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _watches: list[web.Request] = field(default_factory=list)

    def put(self, document: str | None) -> None:
        """Change or delete the ConfigMap."""
        self.version += 1
        kind = "DELETED" if document is None else "MODIFIED"
        self.document = self.document if document is None else document
        self._events.append((self.version, kind, self._config_map()))
        self.document = document
        self._tell()

    def say(self, event: dict[str, Any]) -> None:
        """Send an event of another kind."""
        self._events.append((self.version, event["type"], event["object"]))
        self._tell()

    def break_off(self) -> None:
        """Break all connections of watches."""
        for request in self._watches:
            assert request.transport is not None
            request.transport.abort()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _config_map(self) -> dict[str, Any]:
        return {
            "metadata": {"name": "bot-routes", "resourceVersion": str(self.version)},
            "data": {"routes.json": self.document},
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.path == PATH
        assert request.query["fieldSelector"] == "metadata.name=bot-routes"
        watching = "watch" in request.query
        self.asked.append(("watch" if watching else "list", request.headers["authorization"]))
        if self.status != 200:
            return web.json_response({"message": "no"}, status=self.status)
        if not watching:
            items = [] if self.document is None else [self._config_map()]
            return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": items})
        since = int(request.query["resourceVersion"])
        if since < self.known_from:
            return web.json_response({"message": "too old"}, status=410)
        response = web.StreamResponse()
        await response.prepare(request)
        self._watches.append(request)
        sent = len([each for each in self._events if each[0] <= since and each[1] != "ERROR"])
        try:
            while True:
                news = self._news
                for _, kind, each in self._events[sent:]:
                    await response.write(json.dumps({"type": kind, "object": each}).encode() + b"\n")
                sent = len(self._events)
                await news.wait()
        finally:
            self._watches.remove(request)


@asynccontextmanager
async def api_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    """Run one with a certificate that the pod can verify."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    (folder / "token").write_text("first")
    (folder / "namespace").write_text("team-a")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    api = ApiServer()
    application = web.Application()
    application.router.add_get("/{path:.*}", api.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(runner.addresses[0][1]))
    try:
        yield api
    finally:
        await runner.cleanup()


@dataclass
class Watcher:
    """What was handed on, and what was said."""

    taken: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    async def has(self, document: str) -> None:
        await eventually(lambda: self.taken[-1:] == [document])

    async def says(self, words: str) -> None:
        await eventually(lambda: any(words in each for each in self.said))


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[Watcher]:
    """Follow the routes."""
    watcher = Watcher()
    routes = WatchedRoutes(
        "bot-routes",
        lambda document: watcher.taken.append(document.decode()),
        account=folder,
        log=lambda message, **_: watcher.said.append(message),
    )
    task = asyncio.create_task(routes.follow())
    try:
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@story
async def test_changes_are_handed_on_as_they_happen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with api_server(folder, monkeypatch) as api, watching(folder) as watcher:
        await watcher.says("there is no ConfigMap bot-routes with routes yet; waiting for it")
        for document in ("one", "two", "x" * 300_000):
            api.put(document)
            await watcher.has(document)
        api.put(None)
        await watcher.says("has been deleted; going on by the last ones")
        api.put("four")
        await watcher.has("four")
        assert [verb for verb, _ in api.asked] == ["list", "watch"]


@story
async def test_a_watch_that_breaks_off_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with api_server(folder, monkeypatch) as api, watching(folder) as watcher:
        api.put("one")
        await watcher.has("one")
        await eventually(lambda: bool(api._watches))
        (folder / "token").write_text("second\n")
        api.break_off()
        api.put("two")
        await watcher.has("two")
        assert api.asked[-1][1] == "Bearer second"


@pytest.mark.parametrize("as_event", [True, False])
@story
async def test_a_watch_that_is_too_old_begins_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, as_event: bool
) -> None:
    async with api_server(folder, monkeypatch) as api, watching(folder) as watcher:
        api.put("one")
        await watcher.has("one")
        await eventually(lambda: bool(api._watches))
        if as_event:
            api.say({"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}})
        else:
            api.known_from = api.version + 5
            api.break_off()
            api.version += 10
        await eventually(lambda: [verb for verb, _ in api.asked].count("list") >= 2)
        api.put("two")
        await watcher.has("two")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            403,
            "may not list and watch the ConfigMap bot-routes (403 Forbidden); its Role must allow get, list and watch",
        ),
        (500, "the routes cannot be read for now, trying again: ClientResponseError: 500"),
    ],
)
@story
async def test_a_refusal_is_said_once_and_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    async with api_server(folder, monkeypatch) as api:
        api.status = status
        async with watching(folder) as watcher:
            await eventually(lambda: len(api.asked) >= 2)
            assert len(watcher.said) == 1
            assert words in watcher.said[0]
            api.status = 200
            api.put("one")
            await watcher.has("one")


@story
async def test_a_pod_without_an_api_server_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching(folder) as watcher:
        await watcher.says("the routes cannot be read for now, trying again: FileNotFoundError")
    (folder / "token").write_text("t")
    (folder / "namespace").write_text("team-a")
    trustme.CA().cert_pem.write_to_path(str(folder / "ca.crt"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    async with watching(folder) as watcher:
        await watcher.says("the routes cannot be read: $KUBERNETES_SERVICE_HOST is not set")
