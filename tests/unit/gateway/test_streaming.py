"""Streams pass through word by word, end with their clients, and survive the gateway's own end."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateways import CHAT, Gateway, engine, eventually, gateway, story, upstream

STREAM = CHAT | {"stream": True}


def events(text: bytes) -> list[Any]:
    """Return what the events of a stream say."""
    lines = [each.removeprefix(b"data: ") for each in text.split(b"\n\n") if each]
    return [each.decode() if each == b"[DONE]" else json.loads(each) for each in lines]


async def begun(served: Gateway) -> tuple[aiohttp.ClientResponse, bytes]:
    """Ask for a stream; return it with its first event."""
    response = await served.client.post(f"{served.url}/v1/chat/completions", json=STREAM)
    return response, await response.content.readuntil(b"\n\n")


@story
async def test_each_event_comes_before_the_next_one_is_written(folder: Path) -> None:
    async with engine(waits=True) as slow, gateway(folder, upstream(1, slow)) as served:
        response, first = await begun(served)
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert response.headers["x-tunesmith-revision"] == "1"
        assert events(first)[0]["choices"][0]["delta"]["role"] == "assistant"
        slow.go.set()
        rest = events(await response.read())
        assert rest[-1] == "[DONE]"
        assert "".join(each["choices"][0]["delta"]["content"] for each in rest[:3]) == "stable answers you"
        await eventually(lambda: served.traffic(1).requests == 1)
        assert served.traffic(1).errors == 0


@story
async def test_a_client_that_goes_away_ends_the_engines_work(folder: Path) -> None:
    async with engine(waits=True) as slow, gateway(folder, upstream(1, slow)) as served:
        response, _ = await begun(served)
        response.close()
        await eventually(lambda: slow.dropped == 1)
        asked = asyncio.create_task(served.ask())
        await eventually(lambda: len(slow.bodies) == 2)
        asked.cancel()
        await eventually(lambda: slow.dropped == 2)
        # Nobody has failed anybody.
        await eventually(lambda: served.traffic(1).requests == 2)
        assert (served.traffic(1).errors, served.traffic(1).in_flight) == (0, 0)


@story
async def test_a_client_that_goes_away_waits_no_longer(folder: Path) -> None:
    async with gateway(folder, upstream(1, None)) as served:
        asked = asyncio.create_task(served.ask())
        await eventually(lambda: served.waiting == 1)
        asked.cancel()
        await eventually(lambda: served.waiting == 0)


@story
async def test_a_stream_that_breaks_off_ends_with_an_error(folder: Path) -> None:
    async with engine(breaks_after=1) as weak, gateway(folder, upstream(1, weak)) as served:
        response, _ = await begun(served)
        last = events(await response.read())[-1]
        assert last["error"]["code"] == "upstream_broke_off"
        assert last["error"]["message"] == "revision 1 broke its answer off"
        await eventually(lambda: served.traffic(1).errors == 1)


@story
async def test_an_answer_that_takes_too_long_is_broken_off(folder: Path) -> None:
    requests = {"timeoutSeconds": 1}
    async with engine(waits=True) as slow, gateway(folder, upstream(1, slow), requests=requests) as served:
        whole, streamed = await asyncio.gather(served.ask(), served.ask(STREAM))
        assert (whole.status, whole.code) == (504, "timeout")
        assert events(streamed.body)[-1]["error"]["code"] == "timeout"
        await eventually(lambda: slow.dropped == 2)
        await eventually(lambda: served.traffic(1).errors == 2)


@story
async def test_open_streams_are_finished_when_the_gateway_is_told_to_end(folder: Path) -> None:
    async with engine(waits=True) as slow, gateway(folder, upstream(1, slow), run={"drain_seconds": 0.3}) as served:
        response, _ = await begun(served)
        served.end.ask()
        while (await served.get("/ready")).status == 200:
            await asyncio.sleep(0.005)
        # Who has not heard yet is still answered.
        slow.go.set()
        assert (await served.ask()).status == 200
        slow.go.clear()
        while not served.serving.done():
            try:
                await served.get("/health")
            except aiohttp.ClientError:
                break
        slow.go.set()
        assert events(await response.read())[-1] == "[DONE]"
        await served.serving


@story
async def test_who_waits_is_sent_elsewhere_when_the_gateway_ends(folder: Path) -> None:
    async with gateway(folder, upstream(1, None)) as served:
        asked = asyncio.create_task(served.ask())
        await eventually(lambda: served.waiting == 1)
        served.end.ask()
        answer = await asked
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "ending", "1")


@story
async def test_an_answer_that_is_large_goes_through_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith_runtime.serve.gateway.forwarding.WHOLE_BYTES", 10)
    async with engine() as stable, gateway(folder, upstream(1, stable)) as served:
        answer = await served.ask()
        assert answer.text == "stable answers you"
        assert answer.headers["transfer-encoding"] == "chunked"


@dataclass
class Moody:
    """An engine that answers only so many requests of a connection; then it closes it without a word."""

    patience: int
    connections: int = 0
    requests: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for _ in range(self.patience):
            await self._read(reader)
            body = b'{"choices": []}'
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n" + body)
        await self._read(reader)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        self.requests += 1


@pytest.mark.parametrize(
    ("patience", "statuses", "requests"),
    [
        # It was idle and has been closed meanwhile: the request is sent again over another one.
        (1, [200, 200], 3),
        # It failed at a request of its own: who knows what that did, so it is not sent again.
        (0, [502, 502], 2),
    ],
)
@story
async def test_a_request_is_sent_again_only_if_its_connection_had_been_idle(
    folder: Path, patience: int, statuses: list[int], requests: int
) -> None:
    moody = Moody(patience)
    server = await asyncio.start_server(moody.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, gateway(folder, {"revision": 1, "url": url, "weight": 100}) as served:
        assert [(await served.ask()).status for _ in statuses] == statuses
        assert (moody.requests, moody.connections) == (requests, 2)
