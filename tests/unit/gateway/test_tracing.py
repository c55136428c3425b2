"""Traces go on: to a collector where one is named, and to the engine always."""

from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.gateways import engine, gateway, story, upstream
from tunesmith_runtime.serve.gateway import tracing

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@story
async def test_a_request_is_a_span_of_the_clients_trace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "from_environment", lambda service: tracing.Recording(service, exporter))
    async with engine() as stable, gateway(folder, upstream(3, stable)) as served:
        await served.ask(traceparent=f"00-{TRACE}-{PARENT}-01", x_request_id="mine")
        handed_on = stable.headers[0]["traceparent"].split("-")
    (span,) = exporter.get_finished_spans()
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    context = span.get_span_context()
    assert context is not None
    assert handed_on[1:3] == [TRACE, f"{context.span_id:016x}"]
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "http.response.status_code": 200,
        "tunesmith.request_id": "mine",
        "tunesmith.revision": 3,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
    }


def test_a_collector_is_used_when_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    assert isinstance(tracing.from_environment("bot"), tracing.HandingOn)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    recording = tracing.from_environment("bot")
    assert isinstance(recording, tracing.Recording)
    recording.close()
