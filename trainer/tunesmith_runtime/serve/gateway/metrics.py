"""The gateway's metrics for Prometheus. Labels take few values: revisions, endpoints, statuses and the keys' names."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tunesmith_api.traffic import Routes

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters and histograms of one gateway."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tunesmith_gateway_{name}", text, labels, registry=self._registry)

        self.requests = counter(
            "requests_total",
            "Requests that have ended, by revision (empty where none was asked), endpoint and status.",
            "revision",
            "endpoint",
            "status",
        )
        self.errors = counter("errors_total", "Requests that a revision failed.", "revision")
        self.tokens = counter("tokens_total", "Tokens, by revision and kind: prompt or completion.", "revision", "kind")
        self.seconds = Histogram(
            "tunesmith_gateway_request_seconds",
            "Seconds from a request's start to its answer's end.",
            ("revision",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.first_byte = Histogram(
            "tunesmith_gateway_first_byte_seconds",
            "Seconds from a request's start to the first byte of its answer.",
            ("revision",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "tunesmith_gateway_in_flight", "Requests that are being answered.", ("revision",), registry=self._registry
        )
        self.waiting = Gauge(
            "tunesmith_gateway_waiting", "Requests held until a revision is ready.", registry=self._registry
        )
        self.key_requests = counter("key_requests_total", "Requests let in, by API key.", "key")
        self.key_tokens = counter("key_tokens_total", "Tokens of prompts and answers, by API key.", "key")
        self.refused = counter("refused_total", "Requests that were refused or broken off, by why.", "code")
        self.shadowed = counter("shadow_requests_total", "Copies for the shadow, by outcome.", "outcome")
        self.captured = counter("capture_records_total", "Records for storage: written or dropped.", "outcome")
        self.retrieved = counter(
            "retrievals_total", "Chats that passages were looked up for: found, none or unavailable.", "outcome"
        )
        self.tool_calls = counter(
            "tool_calls_total", "Calls of tools that the gateway has run: answered or failed.", "tool", "outcome"
        )
        self.unwatched = counter("unwatched_total", "Exchanges that were too many or too long to be watched.")
        self.drift = Gauge(
            "tunesmith_gateway_drift",
            "How far the last window of requests is from the reference, by watch.drift.method.",
            registry=self._registry,
        )
        self.score = Gauge(
            "tunesmith_gateway_answer_score",
            "Mean score, from 0 to 1, of the last answers that were graded.",
            registry=self._registry,
        )
        self._revisions: set[str] = set()

    def go_by(self, routes: Routes) -> None:
        """Forget the revisions that are gone, so that the series stay few."""
        there = {str(each.revision) for each in routes.upstreams}
        for revision in self._revisions - there:
            for metric in (self.errors, self.seconds, self.first_byte, self.in_flight):
                metric.remove_by_labels({"revision": revision})
            self.tokens.remove_by_labels({"revision": revision})
            self.requests.remove_by_labels({"revision": revision})
        self._revisions = there

    def exposition(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return generate_latest(self._registry)
