"""How many pods a revision has that serves alone."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from tunesmith_api.resources import ModelServe
from tunesmith_api.serving.scaling import ScalingStatus
from tunesmith_api.traffic import GatewayReport


@dataclass(frozen=True)
class Scale:
    """How many pods there should be, what is remembered of it, and when to look again."""

    replicas: int
    status: ScalingStatus | None
    again: timedelta | None = None


def scale(serve: ModelServe, reports: tuple[GatewayReport, ...], now: datetime) -> Scale:
    """Return how many pods there should be.

    | the load asks for | what follows                                                      |
    |-------------------|-------------------------------------------------------------------|
    | more pods         | they are started at once                                          |
    | as many           | nothing                                                           |
    | fewer             | the same, until it has asked for fewer for scaleDownDelaySeconds  |
    | (unknown)         | nothing: no gateway says anything                                 |

    The load is what is in flight and what waits, over targetInFlight.
    """
    bounds = serve.spec.scaling
    if bounds is None:
        return Scale(serve.spec.replicas, None)
    before = serve.status.scaling
    fewest = max(bounds.min_replicas, 1)
    current = min(max(before.replicas, bounds.min_replicas), bounds.max_replicas) if before else fewest
    if not reports:
        return Scale(current, ScalingStatus(replicas=current))
    load = sum(each.in_flight + each.waiting for report in reports for each in report.revisions)
    load += sum(report.waiting for report in reports)
    wanted = min(max(math.ceil(load / bounds.target_in_flight), bounds.min_replicas), bounds.max_replicas)
    if wanted >= current:
        return Scale(wanted, ScalingStatus(replicas=wanted))
    since = before.fewer_since if before and before.fewer_since else now
    if wanted == 0:
        asked = [report.last_request_at for report in reports if report.last_request_at]
        since = max([since, *asked])
    over = since + timedelta(seconds=bounds.scale_down_delay_seconds)
    if now >= over:
        return Scale(wanted, ScalingStatus(replicas=wanted))
    return Scale(current, ScalingStatus(replicas=current, fewer_since=since), over - now)
