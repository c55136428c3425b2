"""What the gateways have seen of revisions, and whether it will do."""

from collections.abc import Sequence

from tunesmith_api import conditions as c
from tunesmith_api.serving.rollout import Analysis
from tunesmith_api.traffic import GatewayReport, RevisionTraffic
from tunesmith_operator.planner.situation import Situation


def of_revision(reports: Sequence[GatewayReport], revision: int) -> RevisionTraffic:
    """Return what all gateways together have seen of a revision. Latencies are the worst that one of them saw."""
    seen = [each for report in reports for each in report.revisions if each.revision == revision]
    medians = [each.latency_p50_seconds for each in seen if each.latency_p50_seconds is not None]
    slowest = [each.latency_p99_seconds for each in seen if each.latency_p99_seconds is not None]
    return RevisionTraffic(
        revision=revision,
        routed=sum(each.routed for each in seen),
        requests=sum(each.requests for each in seen),
        errors=sum(each.errors for each in seen),
        latency_p50_seconds=max(medians, default=None),
        latency_p99_seconds=max(slowest, default=None),
        in_flight=sum(each.in_flight for each in seen),
        waiting=sum(each.waiting for each in seen),
    )


def broken(
    analysis: Analysis, canary: RevisionTraffic, stable: RevisionTraffic | None, revision: int
) -> Situation | None:
    """Return the situation of a rollout whose new revision breaks a bound; None when it does not, or may not yet."""
    if canary.requests < analysis.min_requests:
        return None
    told = f"revision {revision}, of whose requests {canary.requests} ended within a minute"
    failing = canary.errors / canary.requests
    if analysis.max_error_rate is not None and failing > analysis.max_error_rate:
        return _failed(
            f"{told}, failed {canary.errors} of them ({failing:.1%}); maxErrorRate is {analysis.max_error_rate:.1%}"
        )
    worst, most = canary.latency_p99_seconds, analysis.max_latency_p99_seconds
    if most is not None and worst is not None and worst > most:
        return _failed(f"{told}, took {worst:.2f} s at the 99th percentile; maxLatencyP99Seconds is {most:g}")
    ours, theirs = canary.latency_p50_seconds, stable.latency_p50_seconds if stable else None
    if analysis.max_latency_ratio is not None and ours and theirs and ours / theirs > analysis.max_latency_ratio:
        return _failed(
            f"{told}, took {ours:.2f} s at the median, {ours / theirs:.1f} times what the revision that serves took; "
            f"maxLatencyRatio is {analysis.max_latency_ratio:g}"
        )
    return None


def lacking(analysis: Analysis, canary: RevisionTraffic) -> int:
    """Return how many requests a step still waits for before it can be judged."""
    return max(0, analysis.min_requests - canary.routed)


def _failed(message: str) -> Situation:
    return Situation("blocked", c.ANALYSIS_FAILED, message)
