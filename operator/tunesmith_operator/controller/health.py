"""What probes and Prometheus ask: /healthz, /readyz and /metrics."""

from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from tunesmith_operator.controller import metrics
from tunesmith_operator.controller.queue import WorkQueue
from tunesmith_operator.controller.world import Key

# No reconciliation takes minutes: each of its requests ends after 30 s.
STALLED_SECONDS = 180.0


@dataclass
class Health:
    """How the operator is: `waits_for` says what keeps it from its work, empty when nothing does."""

    queue: WorkQueue[Key]
    waits_for: list[str] = field(default_factory=lambda: ["the API server has not answered yet"])
    standing_by: bool = False

    def alive(self) -> tuple[bool, str]:
        """Return whether the operator lives; one that hangs in its work is to be started anew."""
        seconds = self.queue.stalled_seconds()
        if seconds > STALLED_SECONDS:
            return False, f"there is work, and nothing has been finished for {seconds:.0f} s"
        return True, "ok"

    def ready(self) -> tuple[bool, str]:
        """Return whether the operator works, or stands by for the one that does."""
        if self.waits_for:
            return False, "; ".join(self.waits_for)
        return True, "standing by for the leader" if self.standing_by else "ok"


def application(health: Health) -> web.Application:
    """Return the web application."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(*health.alive())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(*health.ready())

    async def measured(_: web.Request) -> web.Response:
        ages = health.queue.in_work_seconds()
        metrics.UNFINISHED_SECONDS.set(sum(ages))
        metrics.LONGEST_SECONDS.set(max(ages, default=0.0))
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    served = web.Application()
    served.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", measured)])
    return served


def _answer(well: bool, text: str) -> web.Response:
    return web.Response(status=200 if well else 503, text=f"{text}\n")
