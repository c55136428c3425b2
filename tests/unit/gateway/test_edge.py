"""What is not a proper request is refused with the right status, and the gateway stays up."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.gateways import CHAT, Engine, Gateway, engine, gateway, story, upstream

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: bot\r\ncontent-type: application/json\r\n"
BODY = json.dumps(CHAT).encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def code(answer: bytes) -> str:
    found: str = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]
    return found


WRONG_REQUESTS: list[tuple[bytes, tuple[int, str]]] = [
    (b"nonsense\r\n\r\n", (400, "invalid_http")),
    (HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", (400, "invalid_http")),
    (HEAD + b"content-length: x\r\n\r\n{}", (400, "invalid_http")),
    (HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}", (400, "invalid_http")),
    (HEAD + b"host: other\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}", (400, "repeated_header")),
    (HEAD + b"content-type: text/html\r\ncontent-length: 2\r\n\r\n{}", (400, "repeated_header")),
    (HEAD + b"x-filler: " + b"x" * 70_000, (431, "headers_too_large")),
    (HEAD + b"content-length: 99999999\r\n\r\n", (413, "request_too_large")),
    (HEAD + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}", (415, "unsupported_encoding")),
    (
        b"POST /v1/completions HTTP/1.1\r\nhost: bot\r\ncontent-length: 2\r\n\r\n{}",
        (415, "unsupported_media_type"),
    ),
    (
        b"POST /v1/chat/completions?stream=1 HTTP/1.1\r\nhost: bot\r\nconnection: close\r\n\r\n",
        (400, "unexpected_query"),
    ),
    (b"GET /v1/chat/completions HTTP/1.1\r\nhost: bot\r\nconnection: close\r\n\r\n", (405, "method_not_allowed")),
    (b"GET /v1/engines HTTP/1.1\r\nhost: bot\r\nconnection: close\r\n\r\n", (404, "unknown_path")),
    (b"GET /v1/../metrics HTTP/1.1\r\nhost: bot\r\nconnection: close\r\n\r\n", (404, "unknown_path")),
]


@story
async def test_a_wrong_request_is_refused(folder: Path) -> None:
    async with engine() as stable, gateway(folder, upstream(1, stable)) as served:
        for request, expected in WRONG_REQUESTS:
            answer = await served.raw(request)
            assert (status(answer), code(answer)) == expected, request[:200]
        assert not stable.bodies
        assert (await served.ask()).status == 200


WRONG_BODIES: list[tuple[bytes, str, str]] = [
    (b"", "invalid_json", "the body is no JSON: Expecting value"),
    (b"[]", "invalid_json", "the body must be a JSON object"),
    (b'{"model": "bot"', "invalid_json", "the body is no JSON: Expecting ',' delimiter"),
    (b'{"model": "\xff"}', "invalid_utf8", "the body is no UTF-8: byte 11 of it cannot be"),
    (b'{"model": "a", "model": "b"}', "invalid_json", "an object has the field 'model' twice"),
    (b'{"model": NaN}', "invalid_json", "NaN is no number of JSON"),
    (b"[" * 100_000, "invalid_json", "nested too deeply"),
    (b'{"n": ' + b"9" * 5000 + b"}", "invalid_json", "the body is no JSON"),
    (b'{"model": "bot"}', "invalid_request", "messages: Field required"),
    (b'{"messages": [{"role": "user"}]}', "invalid_request", "model: Field required"),
    (b'{"model": "bot", "messages": []}', "invalid_request", "messages: List should have at least 1 item"),
    (b'{"model": "bot", "messages": ["Hi"]}', "invalid_request", "messages.0: Input should be a valid dict"),
    (
        b'{"model": "bot", "messages": [{"role": "user"}], "stream": 1}',
        "invalid_request",
        "stream: Input should be a valid boolean",
    ),
    (
        b'{"model": "bot", "messages": [{"role": "user"}], "max_tokens": -1}',
        "invalid_request",
        "max_tokens: Input should be greater than or equal to 0",
    ),
]


@story
async def test_a_wrong_body_is_refused_in_words(folder: Path) -> None:
    async with engine() as stable, gateway(folder, upstream(1, stable)) as served:
        for body, expected, words in WRONG_BODIES:
            answer = await served.raw(HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            assert (status(answer), code(answer)) == (400, expected), body[:200]
            assert words in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
        assert not stable.bodies


@story
async def test_a_body_without_a_length_is_measured_as_it_comes(folder: Path) -> None:
    requests = {"maxBytes": 1024}
    async with engine() as stable, gateway(folder, upstream(1, stable), requests=requests) as served:
        chunk = b"200\r\n" + b" " * 512 + b"\r\n"
        answer = await served.raw(HEAD + b"transfer-encoding: chunked\r\n\r\n" + 3 * chunk)
        assert (status(answer), code(answer)) == (413, "request_too_large")
        assert b"connection: close" in answer
        fits = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
        taken = await served.raw(HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + fits)
        assert status(taken) == 200


@story
async def test_slow_headers_and_slow_bodies_are_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith_runtime.serve.gateway.edge.HEADER_SECONDS", 0.1)
    requests = {"bodyTimeoutSeconds": 1}
    async with engine() as stable, gateway(folder, upstream(1, stable), requests=requests) as served:
        headers, body, nothing = await asyncio.gather(
            served.raw(HEAD), served.raw(HEAD + b"content-length: 9\r\n\r\n{"), served.raw(b"")
        )
        assert (status(headers), code(headers)) == (408, "header_timeout")
        assert (status(body), code(body)) == (408, "body_timeout")
        assert (status(nothing), code(nothing)) == (408, "header_timeout")


@story
async def test_no_header_of_the_client_reaches_the_engine(folder: Path) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with engine() as stable, gateway(folder, upstream(1, stable)) as served:
        answer = await served.ask(
            x_request_id="my-id:1",
            traceparent=trace,
            cookie="a=b",
            x_forwarded_for="10.0.0.1",
            te="trailers",
            authorization="Bearer secret",
            x_internal="yes",
        )
        assert answer.status == 200
        assert answer.headers["x-request-id"] == "my-id:1"
        assert answer.headers["x-tunesmith-revision"] == "1"
        assert _names(stable) == {
            "accept-encoding",
            "content-length",
            "content-type",
            "host",
            "traceparent",
            "x-request-id",
        }
        assert stable.headers[0]["x-request-id"] == "my-id:1"
        assert stable.headers[0]["traceparent"] == trace
        made = await served.ask(x_request_id="no good", traceparent="nonsense")
        assert made.headers["x-request-id"].startswith("req-")
        assert stable.headers[1]["x-request-id"] == made.headers["x-request-id"]
        assert "traceparent" not in stable.headers[1]


@story
async def test_the_body_reaches_the_engine_as_it_was(folder: Path) -> None:
    body = CHAT | {"temperature": 0.5, "tools": [{"type": "function"}], "unheardOf": {"a": [1, None]}}
    async with engine() as stable, gateway(folder, upstream(1, stable)) as served:
        await served.ask(body)
        assert stable.bodies == [body]
        embedded = await served.ask({"model": "bot", "input": ["a"]}, path="/v1/embeddings")
        assert embedded.json["data"][0]["embedding"] == [0.5]
        completed = await served.ask({"model": "bot", "prompt": "a"}, path="/v1/completions")
        assert completed.json["choices"][0]["text"] == "stable answers you"


@story
async def test_too_many_large_bodies_at_once_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith_runtime.serve.gateway.parts.MOST_BODY_BYTES", 3 * len(BODY))
    async with engine(waits=True) as slow, gateway(folder, upstream(1, slow)) as served:
        asked = [asyncio.create_task(served.ask()) for _ in range(5)]
        while sum(each.done() for each in asked) < 2:
            await asyncio.sleep(0.005)
        slow.go.set()
        answers = await asyncio.gather(*asked)
        assert sorted(each.status for each in answers) == [200, 200, 200, 503, 503]
        assert (await served.ask()).status == 200


@story
async def test_what_there_is_can_be_asked(folder: Path) -> None:
    async with engine() as stable, gateway(folder, upstream(1, stable, adapters=("legal",))) as served:
        models = (await served.get("/v1/models")).json
        assert [each["id"] for each in models["data"]] == ["bot", "legal"]
        assert (await served.get("/ready")).json == {"status": "ready"}
        assert (await served.get("/openapi.json")).json["openapi"] == "3.1.0"
        await served.ask()
        exposed = await _metrics(served)
        assert (
            'tunesmith_gateway_requests_total{endpoint="/v1/chat/completions",revision="1",status="200"} 1.0' in exposed
        )
        assert 'tunesmith_gateway_tokens_total{kind="completion",revision="1"} 3.0' in exposed
        assert 'tunesmith_gateway_request_seconds_count{revision="1"} 1.0' in exposed


async def _metrics(served: Gateway) -> str:
    return (await served.get("/metrics")).body.decode()


def _names(asked: Engine) -> set[str]:
    return set(asked.headers[0])
