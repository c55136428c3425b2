"""What is watched of the traffic goes to a process beside the gateway, which computes and tells what it has found."""

import asyncio
import json
import random
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

from tunesmith_api.serving.capture import Capture
from tunesmith_api.serving.watch import WatchPolicy, WatchReport
from tunesmith_api.traffic import Routes
from tunesmith_runtime.serve.gateway.beside import ended
from tunesmith_runtime.serve.gateway.exchange import Exchange
from tunesmith_runtime.serve.gateway.logs import Say, say
from tunesmith_runtime.serve.gateway.metrics import Metrics

# What waits to be passed on; what comes when there is no room is not watched.
MOST_BYTES = 8 * 2**20
# Longer requests and answers are not watched.
LONGEST_BYTES = 256 * 2**10
# Before the process is started again.
PAUSE_SECONDS = 5.0
_PROCESS = "tunesmith_runtime.serve.watching"
_WATCHED = {"/v1/chat/completions", "/v1/completions"}


@dataclass(frozen=True)
class _Setting:
    """What the process is told."""

    watch: WatchPolicy
    capture: Capture | None
    model: str

    def line(self) -> bytes:
        capture = self.capture.to_json() if self.capture else None
        return _line({"watch": self.watch.to_json(), "capture": capture, "model": self.model})


@dataclass(frozen=True)
class _Seen:
    """An exchange as it waits."""

    body: bytes
    answer: bytes
    engine: str
    revision: int
    graded: bool

    @property
    def size(self) -> int:
        return len(self.body) + len(self.answer) + 512

    def line(self) -> bytes:
        texts = {"body": self.body.decode("utf-8", "replace"), "answer": self.answer.decode("utf-8", "replace")}
        return _line({**texts, "engine": self.engine, "revision": self.revision, "graded": self.graded})


class Watching:
    """Follows the routes' `watch`. `report` is what has been found by now, None when nothing is watched."""

    def __init__(self, model: str, metrics: Metrics, log: Say = say) -> None:
        self.report: WatchReport | None = None
        self._model = model
        self._metrics = metrics
        self._log = log
        self._setting: _Setting | None = None
        # Whose answers are graded: the revision that serves, not one that is rolled out beside it.
        self._serving = 0
        self._changed = asyncio.Event()
        self._waiting: deque[_Seen] = deque()
        self._bytes = 0
        self._came = asyncio.Event()

    def go_by(self, routes: Routes) -> None:
        """Watch what these routes say."""
        watch = routes.watch
        self._serving = routes.upstreams[0].revision if routes.upstreams else 0
        setting = _Setting(watch, routes.capture, self._model) if watch else None
        if setting != self._setting:
            self._setting = setting
            self.report = WatchReport() if setting else None
            self._waiting.clear()
            self._bytes = 0
            self._changed.set()

    def grades(self) -> bool:
        """Draw whether an answer is graded."""
        watcher = self._setting.watch.watcher if self._setting else None
        return watcher is not None and random.random() < watcher.sample  # noqa: S311

    def exchange(self, exchange: Exchange) -> None:
        """Take an exchange that has ended."""
        setting, upstream = self._setting, exchange.upstream
        if setting is None or upstream is None or upstream.url is None or exchange.tally is None:
            return
        graded = exchange.graded and upstream.revision == self._serving
        if not exchange.answered or exchange.endpoint not in _WATCHED or not (setting.watch.drift or graded):
            return
        answer = exchange.tally.kept if graded else b""
        seen = _Seen(exchange.body, answer, upstream.url, upstream.revision, graded)
        if seen.size > LONGEST_BYTES or self._bytes + seen.size > MOST_BYTES:
            self._metrics.unwatched.inc()
            return
        self._bytes += seen.size
        self._waiting.append(seen)
        self._came.set()

    async def follow(self) -> None:
        """Keep the process running and listen to it, until cancelled."""
        while True:
            self._changed.clear()
            if (setting := self._setting) is None:
                await self._changed.wait()
                continue
            try:
                await self._watched(setting)
            except OSError as error:
                self._log("the traffic cannot be watched for now", error=str(error))
            if setting == self._setting:
                self.report = (self.report or WatchReport()).model_copy(
                    update={"problem": "the process that watches has ended, and is started again"}
                )
                await asyncio.sleep(PAUSE_SECONDS)

    async def _watched(self, setting: _Setting) -> None:
        """Run the process until it ends or something else is to be watched."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", _PROCESS, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        parts = [
            asyncio.create_task(self._feed(process.stdin, setting)),
            asyncio.create_task(self._hear(process.stdout)),
            asyncio.create_task(self._until_changed()),
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in parts:
                each.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            if process.returncode is None:
                process.kill()
            await ended(process)

    async def _until_changed(self) -> None:
        await self._changed.wait()

    async def _feed(self, process: asyncio.StreamWriter, setting: _Setting) -> None:
        process.write(setting.line())
        while True:
            while self._waiting:
                seen = self._waiting.popleft()
                self._bytes -= seen.size
                process.write(seen.line())
                await process.drain()
            self._came.clear()
            await self._came.wait()

    async def _hear(self, process: asyncio.StreamReader) -> None:
        while line := await process.readline():
            self.report = report = WatchReport.model_validate_json(line)
            if report.drift:
                self._metrics.drift.set(report.drift.value)
            if report.quality:
                self._metrics.score.set(report.quality.score)


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"
