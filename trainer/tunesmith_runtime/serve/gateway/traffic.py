"""What each revision has been asked and how it answered, in the last minute."""

import math
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tunesmith_api.traffic import WINDOW_SECONDS, GatewayReport, RevisionTraffic, Routes
from tunesmith_runtime.serve.gateway.routing import Router

# As many as a report may have.
MOST_REVISIONS = 16


@dataclass
class _Second:
    """What ended within one second."""

    at: int
    requests: int = 0
    errors: int = 0
    latencies: "array[float]" = field(default_factory=lambda: array("f"))


class RevisionCounts:
    """One revision's requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: deque[_Second] = deque()
        self.routed = 0
        self.in_flight = 0

    def begin(self) -> None:
        """Count a request that is sent to it."""
        self.routed += 1
        self.in_flight += 1

    def end(self, seconds: float, *, failed: bool, whole: bool) -> None:
        """Count one that has ended; if it was answered to the end (`whole`), its time says something."""
        self.in_flight -= 1
        at = int(self._clock())
        if not self._seconds or self._seconds[-1].at != at:
            self._forget()
            self._seconds.append(_Second(at))
        second = self._seconds[-1]
        second.requests += 1
        second.errors += failed
        if whole:
            second.latencies.append(seconds)

    def traffic(self, revision: int, waiting: int) -> RevisionTraffic:
        """Return what there is to say."""
        self._forget()
        latencies = sorted(value for second in self._seconds for value in second.latencies)
        return RevisionTraffic(
            revision=revision,
            routed=self.routed,
            requests=sum(second.requests for second in self._seconds),
            errors=sum(second.errors for second in self._seconds),
            latency_p50_seconds=_percentile(latencies, 0.5),
            latency_p99_seconds=_percentile(latencies, 0.99),
            in_flight=self.in_flight,
            waiting=waiting,
        )

    def _forget(self) -> None:
        earliest = self._clock() - WINDOW_SECONDS
        while self._seconds and self._seconds[0].at < earliest:
            self._seconds.popleft()


class Traffic:
    """All revisions' requests."""

    def __init__(self) -> None:
        self._generation = 0
        self._revisions: dict[int, RevisionCounts] = {}
        self._last_request_at: datetime | None = None

    def request_came(self) -> None:
        """Note that somebody asks."""
        self._last_request_at = datetime.now(UTC)

    def of(self, revision: int) -> RevisionCounts:
        """Return a revision's counts."""
        return self._revisions.setdefault(revision, RevisionCounts())

    def go_by(self, routes: Routes) -> None:
        """Count what is routed from here on; forget revisions that are gone and have answered all."""
        self._generation = routes.generation
        there = _revisions(routes)
        for revision in there:
            self.of(revision).routed = 0
        self._revisions = {
            revision: counts for revision, counts in self._revisions.items() if revision in there or counts.in_flight
        }

    def report(self, router: Router) -> GatewayReport:
        """Return what the operator is told."""
        revisions = _revisions(router.routes) if router.routes else []
        return GatewayReport(
            generation=self._generation,
            revisions=tuple(
                self.of(revision).traffic(revision, router.waiting[revision]) for revision in revisions[:MOST_REVISIONS]
            ),
            last_request_at=self._last_request_at,
        )


def _revisions(routes: Routes) -> list[int]:
    """Return the revisions that requests go to, and the one that gets copies."""
    shadow = (routes.shadow,) if routes.shadow else ()
    return list(dict.fromkeys(each.revision for each in (*routes.upstreams, *shadow)))


def _percentile(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[math.ceil(share * len(ordered)) - 1], 4)
