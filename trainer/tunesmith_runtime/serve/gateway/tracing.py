"""OpenTelemetry's traces: sent to a collector where one is named, else handed on to the revisions as they came."""

import os
import re
from collections.abc import Mapping
from typing import Any, Protocol

from tunesmith_runtime.serve.gateway.exchange import Exchange
from tunesmith_runtime.serve.gateway.incoming import Incoming

_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")
_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Span(Protocol):
    """A request's part of a trace."""

    def headers(self) -> dict[str, str]:
        """Return what tells the revision which trace its own part belongs to."""

    def end(self, exchange: Exchange) -> None:
        """End it, as the request has ended."""


class Tracing(Protocol):
    """Begins spans."""

    def begin(self, request: Incoming) -> Span:
        """Return the span of a request."""

    def close(self) -> None:
        """Send what has not been sent."""


class _HandedOn:
    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)

    def headers(self) -> dict[str, str]:
        return self._headers

    def end(self, exchange: Exchange) -> None:
        pass


class HandingOn:
    """No traces of our own."""

    def begin(self, request: Incoming) -> Span:
        """Return a span that only hands on what the client said."""
        return _HandedOn(_context(request))

    def close(self) -> None:
        """There is nothing to send."""


class _Recorded:
    def __init__(self, span: Any) -> None:
        self._span = span

    def headers(self) -> dict[str, str]:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(self._span))
        return carrier

    def end(self, exchange: Exchange) -> None:
        from opentelemetry.trace import Status, StatusCode

        facts = {
            "http.response.status_code": exchange.status,
            "tunesmith.request_id": exchange.request.id,
            "tunesmith.revision": exchange.revision,
            "tunesmith.key": exchange.caller,
            "gen_ai.usage.input_tokens": exchange.prompt_tokens if exchange.tally else None,
            "gen_ai.usage.output_tokens": exchange.completion_tokens if exchange.tally else None,
        }
        self._span.set_attributes({name: value for name, value in facts.items() if value is not None})
        if exchange.status is not None and exchange.status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Recording:
    """Spans that go to the collector that $OTEL_EXPORTER_OTLP_ENDPOINT names."""

    def __init__(self, service: str, exporter: Any) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or service})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("tunesmith.gateway")

    def begin(self, request: Incoming) -> Span:
        """Begin a span below the client's own, if it brings one."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(_context(request))
        attributes = {"http.request.method": request.method, "url.path": request.path[:200]}
        name = f"{request.method} {request.path[:200]}"
        return _Recorded(self._tracer.start_span(name, parent, SpanKind.SERVER, attributes))

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()


def from_environment(service: str) -> Tracing:
    """Return what the environment asks for."""
    if not any(os.environ.get(name) for name in _VARIABLES):
        return HandingOn()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return Recording(service, OTLPSpanExporter())


def _context(request: Incoming) -> dict[str, str]:
    """Return the client's own part of the trace, if it is in the form that it must have."""
    parent, state = request.headers.get("traceparent", ""), request.headers.get("tracestate", "")
    if not _PARENT.fullmatch(parent):
        return {}
    return {"traceparent": parent} | ({"tracestate": state} if _STATE.fullmatch(state) else {})
