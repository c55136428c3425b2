"""Passages for questions, from a process beside the gateway: `tunesmith_runtime.serve.retrieval`.

It is started when routes ask for retrieval, and started again when it ends. What it says is in its module `service`.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import Mapping
from typing import Any

from tunesmith_api.serving.retrieval import Retrieval
from tunesmith_api.traffic import Routes, Upstream
from tunesmith_runtime.serve.gateway.beside import ended
from tunesmith_runtime.serve.gateway.grounding import Passage
from tunesmith_runtime.serve.gateway.logs import Say, say

PROCESS = "tunesmith_runtime.serve.retrieval"
# Before the process is started again.
RESTART_SECONDS = 1.0
# The end of a question that is longer counts.
LONGEST_QUESTION = 8_000
_LONGEST_LINE = 32 * 2**20


class NoPassagesError(Exception):
    """It cannot be told which passages fit; the sentence says why."""


def identity(upstream: Upstream) -> str:
    """Return what a revision's vectors go by: those of another model mean something else."""
    return upstream.model or f"revision {upstream.revision}"


class Retriever:
    """The process, and who waits for its answers. `model` is what clients call what is served."""

    def __init__(self, model: str, log: Say = say) -> None:
        self._model = model
        self._log = log
        self._orders: Mapping[str, Any] | None = None
        self._news = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[list[Passage]]] = {}

    def go_by(self, routes: Routes) -> None:
        """Go by other routes from now on."""
        orders = None
        if routes.retrieval is not None:
            revisions: dict[str, str] = {}
            for each in sorted(routes.upstreams, key=lambda upstream: -upstream.weight):
                if each.url is not None:
                    revisions.setdefault(identity(each), each.url)
            orders = {
                "retrieval": routes.retrieval.model_dump_json(by_alias=True, exclude_none=True),
                "model": self._model,
                "revisions": [{"model": model, "url": url} for model, url in revisions.items()],
            }
        if orders != self._orders:
            self._orders = orders
            self._news.set()
            self._pass_on()

    async def find(self, question: str, retrieval: Retrieval, prefer: Upstream) -> list[Passage]:
        """Return the passages that fit a question best, the best first. Raises NoPassagesError.

        The question is embedded by the revision `prefer` if there is an index for its model.
        """
        if self._process is None:
            raise NoPassagesError("the index is not there yet")
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._write({"ask": number, "question": question[-LONGEST_QUESTION:], "prefer": identity(prefer)})
            async with asyncio.timeout(retrieval.timeout_seconds):
                return await answer
        except TimeoutError:
            raise NoPassagesError(f"no passages were found within {retrieval.timeout_seconds} seconds") from None
        finally:
            del self._asked[number]

    async def follow(self) -> None:
        """Keep the process running while there are orders for it, until cancelled."""
        while True:
            while self._orders is None:
                self._news.clear()
                await self._news.wait()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                PROCESS,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
            )
            self._process = process
            try:
                self._pass_on()
                await self._listen(process)
            finally:
                self._process = None
                await self._end(process)
            if self._orders is not None:
                self._log("the process that looks for passages has ended; starting it again")
                await asyncio.sleep(RESTART_SECONDS)

    def _pass_on(self) -> None:
        """Tell the process what to go by; without orders it is over."""
        if self._process is None:
            return
        if self._orders is None:
            assert self._process.stdin is not None  # noqa: S101 - it is a pipe
            self._process.stdin.close()
        else:
            self._write({"go_by": self._orders})

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self._process is not None  # noqa: S101 - there is one
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101
        while line := await process.stdout.readline():
            message = json.loads(line)
            if "say" in message:
                self._log(f"retrieval: {message['say']}")
            elif "serves" in message:
                self._log("retrieval: the index serves", index=message["index"], passages=message["passages"])
            elif (waiting := self._asked.get(message["ask"])) is not None and not waiting.done():
                if "error" in message:
                    waiting.set_exception(NoPassagesError(message["error"]))
                else:
                    waiting.set_result([Passage(**each) for each in message["passages"]])

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(NoPassagesError("the process that looks for passages has ended"))
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(1):
                await process.wait()
        except TimeoutError:
            process.kill()
        await ended(process)
