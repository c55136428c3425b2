"""Copies of requests for a revision that is only looked at: its answers are counted and dropped."""

import asyncio
import time
from dataclasses import dataclass, field

import aiohttp

from tunesmith_runtime.serve.gateway.forwarding import Forwarder, Parcel
from tunesmith_runtime.serve.gateway.logs import Say, say
from tunesmith_runtime.serve.gateway.metrics import Metrics
from tunesmith_runtime.serve.gateway.routing import Ready
from tunesmith_runtime.serve.gateway.tally import Tally
from tunesmith_runtime.serve.gateway.traffic import Traffic

# Copies at once. What comes while so many are under way is not copied: a shadow never makes anybody wait.
MOST = 16


@dataclass
class Shadows:
    """Sends copies beside the requests themselves."""

    forwarder: Forwarder
    metrics: Metrics
    traffic: Traffic
    log: Say = say
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def copy(self, request_id: str, parcel: Parcel, ready: Ready, tally: Tally, seconds: float) -> None:
        """Begin to send a copy, unless too many are under way."""
        if len(self._running) >= MOST:
            self.metrics.shadowed.labels("dropped").inc()
            return
        task = asyncio.create_task(self._send(request_id, parcel, ready, tally, seconds))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _send(self, request_id: str, parcel: Parcel, ready: Ready, tally: Tally, seconds: float) -> None:
        began = time.monotonic()
        status, error, failed = None, None, True
        counts = self.traffic.of(ready.revision)
        counts.begin()
        try:
            status = await self.forwarder.copy(parcel, ready, tally, seconds)
            failed = status >= 500
        except (aiohttp.ClientError, TimeoutError) as failure:
            error = type(failure).__name__
        except asyncio.CancelledError:
            failed = False
            raise
        finally:
            counts.end(time.monotonic() - began, failed=failed, whole=status is not None)
        self.metrics.shadowed.labels("failed" if failed else "answered").inc()
        self.log(
            "shadow",
            id=request_id,
            revision=ready.revision,
            status=status,
            error=error,
            seconds=round(time.monotonic() - began, 4),
            promptTokens=tally.prompt_tokens,
            completionTokens=tally.completion_tokens,
        )

    async def close(self) -> None:
        """Drop what is under way."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
