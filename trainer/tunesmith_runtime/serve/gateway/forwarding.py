"""Requests go to a revision and its answers come back, as they come."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp

from tunesmith_api.traffic import Upstream
from tunesmith_runtime.serve.gateway.exchange import Exchange
from tunesmith_runtime.serve.gateway.metrics import Metrics
from tunesmith_runtime.serve.gateway.outgoing import JSON, Recipient
from tunesmith_runtime.serve.gateway.refusals import Refusal, error_body
from tunesmith_runtime.serve.gateway.routing import Ready, Router
from tunesmith_runtime.serve.gateway.tally import Tally
from tunesmith_runtime.serve.gateway.traffic import Traffic

CONNECT_SECONDS = 5.0
# Engines close idle connections after five seconds, uvicorn's default; who reuses one then loses a request.
IDLE_SECONDS = 3.0
# Before the same revision is tried again, and again: a pod may be on its way out, and the proxies not know it yet.
RETRY_PAUSES_SECONDS = (0.1, 0.3, 0.6, 1.0)
# Answers up to this size are sent whole, so that one that breaks off becomes an error rather than half an answer.
WHOLE_BYTES = 1024 * 1024
_EVENTS = "text/event-stream"
# Tells proxies between here and the client to pass each event on as it comes.
_UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class UnreachedError(Exception):
    """A revision has not taken a request: another try can do no harm."""


class BrokenAnswerError(Exception):
    """An answer broke off after a part of it was sent: its connection must be broken off as well."""


@dataclass
class _Connection:
    """Whether a request went over a connection that had been idle."""

    reused: bool = field(default=False)


def open_session() -> aiohttp.ClientSession:
    """Return a pool of connections to the revisions."""
    trace = aiohttp.TraceConfig()

    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
        context.trace_request_ctx.reused = True

    trace.on_connection_reuseconn.append(reused)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS, ttl_dns_cache=5),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        trace_configs=[trace],
        skip_auto_headers=("User-Agent", "Accept"),
    )


@dataclass(frozen=True)
class Parcel:
    """What is sent on: the path, the headers, and the body, which can be another one for each revision."""

    path: str
    headers: Mapping[str, str]
    body_for: Callable[[Upstream], bytes]


class Forwarder:
    """Sends requests on and counts how they end."""

    def __init__(self, session: aiohttp.ClientSession, router: Router, traffic: Traffic, metrics: Metrics) -> None:
        self._session = session
        self._router = router
        self._traffic = traffic
        self._metrics = metrics

    async def forward(
        self, parcel: Parcel, ready: Ready, client: Recipient, exchange: Exchange, seconds: float
    ) -> None:
        """Send a request to a revision, or to another that can be reached, and its answer on. Raises Refusal."""
        for pause in (*RETRY_PAUSES_SECONDS, None):
            try:
                return await self._counted(parcel, ready, client, exchange, seconds)
            except UnreachedError as error:
                if pause is None:
                    raise Refusal(
                        502,
                        "upstream_unreachable",
                        f"revision {ready.revision} cannot be reached; try again",
                        retry_after=1,
                    ) from error
            again = self._router.other(ready)
            if again.revision == ready.revision:
                await asyncio.sleep(pause)
            ready = again
        raise AssertionError("the last try answers or refuses")

    async def _counted(
        self, parcel: Parcel, ready: Ready, client: Recipient, exchange: Exchange, seconds: float
    ) -> None:
        counts, label = self._traffic.of(ready.revision), str(ready.revision)
        exchange.upstream = ready.upstream
        client.headers["x-tunesmith-revision"] = label
        in_flight = self._metrics.in_flight.labels(label)
        counts.begin()
        in_flight.inc()
        began = time.monotonic()
        failed, whole = True, False
        try:
            async with asyncio.timeout(seconds):
                status = await self._exchanged(parcel, ready, client, exchange)
            failed, whole = status >= 500, True
        except TimeoutError:
            await self._break_off(
                client, exchange, 504, "timeout", f"the answer was not complete within {seconds:g} seconds"
            )
        except aiohttp.ClientPayloadError:
            await self._break_off(client, exchange, 502, "upstream_broke_off", f"revision {label} broke its answer off")
        except aiohttp.ClientError as error:
            await self._break_off(
                client, exchange, 502, "upstream_failed", f"revision {label} failed: {type(error).__name__}"
            )
        except UnreachedError:
            raise
        except BaseException:
            failed = False  # the client has gone, or this process ends
            raise
        finally:
            counts.end(time.monotonic() - began, failed=failed, whole=whole)
            in_flight.dec()
            if failed:
                self._metrics.errors.labels(label).inc()

    async def _exchanged(self, parcel: Parcel, ready: Ready, client: Recipient, exchange: Exchange) -> int:
        """Send the request and relay the answer; return its status."""
        connection = _Connection()
        try:
            response = await self._session.post(
                ready.url.rstrip("/") + parcel.path,
                data=parcel.body_for(ready.upstream),
                headers=parcel.headers,
                allow_redirects=False,
                trace_request_ctx=connection,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UnreachedError from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if connection.reused:  # it was closed while it was idle
                raise UnreachedError from error
            raise
        try:
            await _relay(response, client, exchange, ready.revision)
            return response.status
        finally:
            # What was read to its end is used again; anything else tells the revision that nobody listens.
            response.close() if not response.content.at_eof() else response.release()

    async def _break_off(self, client: Recipient, exchange: Exchange, status: int, code: str, message: str) -> None:
        """End an answer that cannot be completed, so that the client knows."""
        if not client.started:
            raise Refusal(status, code, message)
        exchange.code = code
        if not client.sends_events:
            raise BrokenAnswerError(message)
        await client.end(b"data: " + error_body(status, code, message) + b"\n\n")

    async def copy(self, parcel: Parcel, ready: Ready, tally: Tally, seconds: float) -> int:
        """Send a request and drop its answer; return the status. Raises aiohttp's errors and TimeoutError."""
        async with (
            asyncio.timeout(seconds),
            self._session.post(
                ready.url.rstrip("/") + parcel.path,
                data=parcel.body_for(ready.upstream),
                headers=parcel.headers,
                allow_redirects=False,
                trace_request_ctx=_Connection(),
            ) as response,
        ):
            events = response.content_type == _EVENTS
            parts: list[bytes] = []
            size = 0
            async for part in response.content.iter_any():
                if events:
                    tally.event_bytes(part)
                elif (size := size + len(part)) <= WHOLE_BYTES:
                    parts.append(part)
            if not events:
                tally.whole(b"".join(parts))
            return response.status


async def _relay(response: aiohttp.ClientResponse, client: Recipient, exchange: Exchange, revision: int) -> None:
    tally = exchange.tally
    assert tally is not None  # noqa: S101 - every request that is sent on is counted
    if 300 <= response.status < 400:
        raise Refusal(502, "upstream_failed", f"revision {revision} answered with a redirection")
    headers = {"content-type": response.headers.get("content-type", JSON)}
    if retry_after := response.headers.get("retry-after"):
        headers["retry-after"] = retry_after
    if response.content_type == _EVENTS:
        await client.start(response.status, {**headers, **_UNBUFFERED})
        async for part in response.content.iter_any():
            exchange.byte_came()
            tally.event_bytes(part)
            await client.write(part)
        await client.end()
        return
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        exchange.byte_came()
        size += len(part)
        if client.started:
            tally.whole_bytes(part)
            await client.write(part)
            continue
        parts.append(part)
        if size > WHOLE_BYTES:
            await client.start(response.status, headers)
            tally.whole_bytes(beginning := b"".join(parts))
            await client.write(beginning)
    if client.started:
        await client.end()
        return
    body = b"".join(parts)
    tally.whole(body)
    if response.status >= 400 and response.content_type != JSON:
        headers["content-type"] = JSON
        body = error_body(response.status, "upstream_failed", f"revision {revision} answered {response.status}")
    await client.answer(response.status, body, headers.pop("content-type"), headers)
