"""Requests for texts and embeddings: looked at, let in, prompted, sent on."""

import json
from collections.abc import Mapping
from typing import Any

from tunesmith_api.serving.access import Scope
from tunesmith_api.serving.sticky import Sticky
from tunesmith_api.traffic import Routes, Upstream
from tunesmith_runtime.serve.gateway.exchange import CLIENT_GONE, Exchange
from tunesmith_runtime.serve.gateway.forwarding import Parcel
from tunesmith_runtime.serve.gateway.incoming import Incoming, parsed, read_body, shaped
from tunesmith_runtime.serve.gateway.limits import ANSWER_TOKENS
from tunesmith_runtime.serve.gateway.outgoing import Client
from tunesmith_runtime.serve.gateway.parts import Parts
from tunesmith_runtime.serve.gateway.prompting import prompted
from tunesmith_runtime.serve.gateway.refusals import ClientGoneError
from tunesmith_runtime.serve.gateway.routing import Ready
from tunesmith_runtime.serve.gateway.shapes import Asked, ChatRequest
from tunesmith_runtime.serve.gateway.tally import BYTES_A_TOKEN, Tally


class Generating:
    """Answers them by a revision."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def answer(
        self, request: Incoming, client: Client, exchange: Exchange, scope: Scope, shape: type[Asked]
    ) -> None:
        """Answer one. Raises Refusal and ClientGoneError."""
        parts = self._parts
        caller, routes = parts.caller(request, scope, exchange)
        parts.traffic.request_came()
        body = await read_body(request, client.receive, routes.requests, parts.room)
        try:
            value = parsed(body)
            asked = shaped(value, shape)
            exchange.body = body
            meter, allowed = parts.limiter.meter(caller.name), parts.limits_of(caller, routes)
            answer_tokens = asked.answer_tokens
            needed = len(body) // BYTES_A_TOKEN + (ANSWER_TOKENS if answer_tokens is None else answer_tokens)
            with meter.admit(allowed, needed, exact=answer_tokens is not None) as admission:
                client.headers |= admission.headers()
                exchange.sampled = parts.records.wants(routes.capture)
                exchange.graded = parts.watching.grades()
                keep = exchange.sampled or exchange.graded or routes.log_contents
                exchange.tally = Tally(len(body), keep=keep)
                span = parts.tracing.begin(request)
                try:
                    async with client.watched():
                        parcel = self._parcel(request, value, body, asked, span.headers())
                        key = _belongs_to(routes.traffic.sticky, request, asked, caller.name)
                        await self._send(parcel, key, client, exchange, routes)
                except ClientGoneError:
                    exchange.status = CLIENT_GONE
                    raise
                finally:
                    exchange.status = exchange.status or client.status
                    admission.tokens = exchange.prompt_tokens + exchange.completion_tokens
                    if caller.name is not None:
                        parts.metrics.key_requests.labels(caller.name).inc()
                        parts.metrics.key_tokens.labels(caller.name).inc(admission.tokens)
                    span.end(exchange)
        finally:
            parts.room.give_back(len(body))

    async def _send(self, parcel: Parcel, key: str | None, client: Client, exchange: Exchange, routes: Routes) -> None:
        ready = await self._parts.router.ready(key)
        shadow = routes.shadow
        if shadow is not None and shadow.url is not None:
            tally = Tally(len(parcel.body_for(shadow)), keep=False)
            self._parts.shadows.copy(
                exchange.request.id, parcel, Ready(shadow, shadow.url), tally, routes.requests.timeout_seconds
            )
        await self._parts.forwarder.forward(parcel, ready, client, exchange, routes.requests.timeout_seconds)

    def _parcel(
        self, request: Incoming, value: Mapping[str, Any], body: bytes, asked: Asked, trace: Mapping[str, str]
    ) -> Parcel:
        # Of the client's own headers none is passed on but its trace's.
        headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "x-request-id": request.id,
            **trace,
        }

        def body_for(upstream: Upstream) -> bytes:
            if upstream.prompt is None or not isinstance(asked, ChatRequest):
                return body
            messages = prompted(upstream.prompt, value["messages"])
            return body if messages is None else json.dumps({**value, "messages": messages}).encode()

        return Parcel(request.path, headers, body_for)


def _belongs_to(sticky: Sticky | None, request: Incoming, asked: Asked, caller: str | None) -> str | None:
    """Return what the request's revision goes by, if not by the shares alone."""
    if sticky is None:
        return None
    match sticky.by:
        case "user":
            return asked.user
        case "key":
            return caller
        case "header":
            return request.headers.get(sticky.header or "")
