"""The gateway's part of the progress document."""

import asyncio
from collections.abc import Callable

from tunesmith_api.traffic import GatewayReport
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.serve.gateway.logs import say

INTERVAL_SECONDS = 2.0


class Reports:
    """Writes what is said of the traffic when it has changed: at most every two seconds, and at once when it is urgent.

    `hurry` brings what was written to where the operator reads it, without waiting for the next turn.
    """

    def __init__(
        self, reporter: ProgressReporter, report: Callable[[], GatewayReport], hurry: Callable[[], None] | None = None
    ) -> None:
        self._reporter = reporter
        self._report = report
        self._hurry = hurry
        self._written: GatewayReport | None = None
        self._urgent = asyncio.Event()

    def urge(self) -> None:
        """Have it written at once."""
        self._urgent.set()

    async def follow(self) -> None:
        """Write again and again, until cancelled."""
        while True:
            urgent = self._urgent.is_set()
            self._urgent.clear()
            await self.write()
            if urgent and self._hurry is not None:
                self._hurry()
            try:
                async with asyncio.timeout(INTERVAL_SECONDS):
                    await self._urgent.wait()
            except TimeoutError:
                continue

    async def write(self) -> None:
        """Write what there is to say, if it has changed."""
        report = self._report()
        if report != self._written:
            try:
                await asyncio.to_thread(self._reporter.update, gateway=report)
            except OSError as error:
                say("the traffic cannot be reported for now", error=str(error))
            else:
                self._written = report
