"""What schemathesis makes of the OpenAPI document never brings the gateway down."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.gateways import engine, gateway, upstream
from tunesmith_runtime.serve.gateway import openapi

SCHEMA = schemathesis.openapi.from_dict(json.loads(openapi.document("bot")))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a gateway and an engine in a thread."""
    folder = tmp_path_factory.mktemp("fuzzed")
    loop = asyncio.new_event_loop()
    found: list[str] = []
    ready, over = threading.Event(), asyncio.Event()

    async def run() -> None:
        async with engine() as stable, gateway(folder, upstream(1, stable), capture={"uri": "pvc://data/t"}) as served:
            found.append(served.url)
            ready.set()
            await over.wait()
            assert (await served.ask()).status == 200

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TUNESMITH_ROUTES", str(folder / "routes.json"))
        patched.setenv("TUNESMITH_VOLUMES", str(folder))
        patched.delenv("TUNESMITH_API_KEYS", raising=False)
        failures: list[BaseException] = []

        def carry_out() -> None:
            try:
                loop.run_until_complete(run())
            except BaseException as error:
                failures.append(error)
                ready.set()

        thread = threading.Thread(target=carry_out)
        thread.start()
        ready.wait()
        if not failures:
            yield found[0]
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
        assert not failures


@SCHEMA.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_endpoint_answers_as_it_says(case: schemathesis.Case[Any], url: str) -> None:
    case.call_and_validate(base_url=url, checks=CHECKS)


def test_the_document_names_every_endpoint(folder: Path) -> None:
    assert set(json.loads(openapi.document("bot"))["paths"]) == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/v1/usage",
        "/v1/feedback",
        "/health",
        "/ready",
        "/metrics",
        "/openapi.json",
    }
