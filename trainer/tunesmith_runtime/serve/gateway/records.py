"""Exchanges and feedback on their way to storage: beside the requests, in bounded memory."""

import asyncio
import itertools
import json
import random
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

from tunesmith_api.serving.capture import Capture
from tunesmith_api.traffic import Routes
from tunesmith_runtime.serve.gateway import captured
from tunesmith_runtime.serve.gateway.captured import Captured, CapturedExchange, CapturedFeedback, RecordKind
from tunesmith_runtime.serve.gateway.exchange import Exchange
from tunesmith_runtime.serve.gateway.logs import Say, say
from tunesmith_runtime.serve.gateway.metrics import Metrics
from tunesmith_runtime.serve.gateway.shapes import Feedback
from tunesmith_runtime.serve.gateway.writing import NotWrittenError, Writer

# A file is written when there is so much for it, or after so long.
PART_BYTES = 4 * 2**20
PART_SECONDS = 20.0
# What is not written yet; what comes when there is no room is dropped.
MOST_BYTES = 64 * 2**20
LONGEST_PAUSE_SECONDS = 60.0
# Of a text in the log.
LOGGED_CHARACTERS = 2000
_KEPT = {"/v1/chat/completions", "/v1/completions"}


@dataclass(frozen=True)
class _Waiting:
    kind: RecordKind
    capture: Capture
    what: Captured


class Records:
    """Collects what is to be written and writes it part by part."""

    def __init__(self, metrics: Metrics, log: Say = say, part_seconds: float = PART_SECONDS) -> None:
        self._metrics = metrics
        self._log = log
        self._part_seconds = part_seconds
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._full = asyncio.Event()
        self._name = uuid.uuid4().hex[:8]
        self._numbers = itertools.count()
        self._writer = Writer()
        self._said = ""
        self._logging: set[asyncio.Task[None]] = set()

    def wants(self, capture: Capture | None) -> bool:
        """Draw whether an exchange is kept."""
        return capture is not None and random.random() < capture.sample  # noqa: S311

    def exchange(self, exchange: Exchange, routes: Routes | None) -> None:
        """Keep an exchange that was drawn and answered; log its contents if that is asked for."""
        if routes is None or exchange.tally is None or not exchange.answered:
            return
        if exchange.endpoint not in _KEPT:
            return
        facts = {
            "id": exchange.request.id,
            "time": datetime.fromtimestamp(exchange.came_at, UTC).isoformat(timespec="milliseconds"),
            "endpoint": exchange.endpoint,
            "revision": exchange.revision,
            "key": exchange.caller,
            "status": exchange.status,
            "seconds": round(exchange.seconds, 4),
            "promptTokens": exchange.prompt_tokens,
            "completionTokens": exchange.completion_tokens,
            "truncated": exchange.tally.truncated or exchange.code is not None,
        }
        what = CapturedExchange(facts, exchange.body, exchange.tally.kept)
        if exchange.sampled and routes.capture is not None:
            self._add(_Waiting("exchanges", routes.capture, what))
        if routes.log_contents:
            task = asyncio.create_task(self._log_contents(what))
            self._logging.add(task)
            task.add_done_callback(self._logging.discard)

    def feedback(self, feedback: Feedback, caller: str | None, capture: Capture) -> None:
        """Keep what somebody says of an answer."""
        facts = {
            "requestId": feedback.request_id,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "key": caller,
            "rating": feedback.value,
            "correction": feedback.correction,
            "comment": feedback.comment,
        }
        self._add(_Waiting("feedback", capture, CapturedFeedback(facts)))

    def _add(self, waiting: _Waiting) -> None:
        if self._bytes + waiting.what.size > MOST_BYTES:
            self._metrics.captured.labels("dropped").inc()
            return
        self._bytes += waiting.what.size
        self._waiting.append(waiting)
        if self._bytes >= PART_BYTES:
            self._full.set()

    async def follow(self) -> None:
        """Write again and again, until cancelled."""
        pause = self._part_seconds
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._full.wait()
            except TimeoutError:
                pass
            if await self.write():
                pause = self._part_seconds
            else:  # it stays full: only time helps
                await asyncio.sleep(pause := min(2 * pause, LONGEST_PAUSE_SECONDS))

    async def write(self) -> bool:
        """Write all there is; return whether nothing is left, which is kept for the next time."""
        batch, self._waiting = self._waiting, []
        self._full.clear()
        parts: dict[tuple[RecordKind, Capture], list[_Waiting]] = defaultdict(list)
        for each in batch:
            parts[each.kind, each.capture].append(each)
        well = True
        for (kind, capture), waiting in parts.items():
            if await self._write_part(kind, capture, waiting):
                self._bytes -= sum(each.what.size for each in waiting)
            else:
                self._waiting = waiting + self._waiting
                well = False
        return well

    async def _write_part(self, kind: RecordKind, capture: Capture, waiting: list[_Waiting]) -> bool:
        time = datetime.now(UTC).strftime("%H%M%S")
        file = f"{time}-{self._name}-{next(self._numbers):06}"

        try:
            await self._writer.write([each.what for each in waiting], kind, capture, file)
        except NotWrittenError as error:
            if not error.again:
                self._log(f"records were lost: {error}", records=len(waiting))
                self._metrics.captured.labels("dropped").inc(len(waiting))
                return True
            self._say(f"what is captured cannot be written to {capture.uri}, trying again: {error}")
            return False
        self._metrics.captured.labels("written").inc(len(waiting))
        self._said = ""
        return True

    async def _log_contents(self, what: CapturedExchange) -> None:
        def shortened() -> str:
            record = captured.finished(what, redact=True)
            contents = {name: record[name] for name in ("messages", "prompt", "completion") if name in record}
            return json.dumps(contents)[-LOGGED_CHARACTERS:]

        self._log("contents", id=what.facts["id"], end=await asyncio.to_thread(shortened))

    async def close(self) -> None:
        """Write what is left."""
        await asyncio.gather(*self._logging, return_exceptions=True)
        if not await self.write():
            self._metrics.captured.labels("dropped").inc(len(self._waiting))
            self._log("records were lost: they could not be written before the end", records=len(self._waiting))
        await self._writer.close()

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._log(sentence)
        self._said = sentence
