"""Requests for texts and embeddings: looked at, let in, prompted, sent on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith_api.serving.access import Scope
from tunesmith_api.serving.sticky import Sticky
from tunesmith_api.serving.tools import HttpTool
from tunesmith_api.traffic import Routes, Upstream
from tunesmith_runtime.serve.gateway import tooling
from tunesmith_runtime.serve.gateway.amending import Amended
from tunesmith_runtime.serve.gateway.exchange import CLIENT_GONE, Exchange
from tunesmith_runtime.serve.gateway.forwarding import Parcel
from tunesmith_runtime.serve.gateway.grounding import Passage, citations, grounded, header, question_of
from tunesmith_runtime.serve.gateway.incoming import Incoming, parsed, read_body, shaped
from tunesmith_runtime.serve.gateway.limits import ANSWER_TOKENS
from tunesmith_runtime.serve.gateway.outgoing import Client, Recipient
from tunesmith_runtime.serve.gateway.parts import Parts
from tunesmith_runtime.serve.gateway.prompting import prompted
from tunesmith_runtime.serve.gateway.refusals import ClientGoneError, Refusal
from tunesmith_runtime.serve.gateway.retrieving import NoPassagesError
from tunesmith_runtime.serve.gateway.routing import Ready
from tunesmith_runtime.serve.gateway.shapes import Asked, ChatRequest
from tunesmith_runtime.serve.gateway.stepping import Message
from tunesmith_runtime.serve.gateway.tally import BYTES_A_TOKEN, Tally
from tunesmith_runtime.serve.gateway.tooling import with_tools

# A request can say off; answers say found, none, unavailable or off.
HEADER = "x-tunesmith-retrieval"


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
                        key = _belongs_to(routes.traffic.sticky, request, asked, caller.name)
                        ready = await parts.router.ready(key)
                        call = Call(request, routes, asked, value, body, span.headers())
                        await self._send(call, ready, client, exchange)
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

    async def _send(self, call: "Call", ready: Ready, client: Client, exchange: Exchange) -> None:
        passages = await self._passages(call, ready, client)
        parcel = _parcel(call, passages)
        shadow, seconds = call.routes.shadow, call.routes.requests.timeout_seconds
        if shadow is not None and shadow.url is not None:
            tally = Tally(len(parcel.body_for(shadow)), keep=False)
            self._parts.shadows.copy(exchange.request.id, parcel, Ready(shadow, shadow.url), tally, seconds)
        recipient: Recipient = client
        if passages:
            recipient = Amended(client, {"citations": citations(passages)})
        tools = self._tools(call)
        if not tools:
            await self._parts.forwarder.forward(parcel, ready, recipient, exchange, seconds)
            return
        assert call.routes.tools is not None  # noqa: S101 - some of them are offered
        await self._parts.tooling.answer(
            tools,
            call.routes.tools.max_rounds,
            lambda said, offers: _parcel(call, passages, said, offers),
            ready,
            recipient,
            exchange,
            seconds,
        )

    def _tools(self, call: "Call") -> Mapping[str, HttpTool]:
        """Return the tools that the gateway runs for a request."""
        if not isinstance(call.asked, ChatRequest) or call.asked.tunesmith.tools == "off":
            return {}
        if call.request.headers.get(tooling.HEADER) == "off":
            return {}
        return tooling.offered(call.routes.tools, call.value)

    async def _passages(self, call: "Call", ready: Ready, client: Client) -> Sequence[Passage]:
        """Return the passages that a chat is answered from, and tell in a header how that went. Raises Refusal."""
        retrieval = call.routes.retrieval
        if retrieval is None or not isinstance(call.asked, ChatRequest):
            return ()
        question = question_of(call.value["messages"])
        if not question or call.asked.tunesmith.retrieval == "off" or call.request.headers.get(HEADER) == "off":
            client.headers[HEADER] = "off"
            return ()
        retrieved = self._parts.metrics.retrieved
        try:
            passages = await self._parts.retriever.find(question, retrieval, ready.upstream)
        except NoPassagesError as error:
            retrieved.labels("unavailable").inc()
            self._parts.log("no passages can be had", id=call.request.id, error=str(error))
            if retrieval.on_failure == "refuse":
                raise Refusal(
                    503, "retrieval_unavailable", "documents cannot be looked through now; try again", retry_after=5
                ) from None
            client.headers[HEADER] = "unavailable"
            return ()
        outcome = "found" if passages else "none"
        retrieved.labels(outcome).inc()
        client.headers[HEADER] = outcome
        if passages:
            client.headers["x-tunesmith-citations"] = header(passages)
        return passages


@dataclass(frozen=True)
class Call:
    """A request, and what it goes by."""

    request: Incoming
    routes: Routes
    asked: Asked
    value: Mapping[str, Any]
    body: bytes
    trace: Mapping[str, str]


def _parcel(
    call: Call, passages: Sequence[Passage], said: Sequence[Message] = (), tools: Mapping[str, HttpTool] | None = None
) -> Parcel:
    """Return what is sent on. `said` is what came after the request's own messages; `tools` are offered besides."""
    # Of the client's own headers none is passed on but its trace's.
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "x-request-id": call.request.id,
        **call.trace,
    }

    def body_for(upstream: Upstream) -> bytes:
        if not isinstance(call.asked, ChatRequest):
            return call.body
        messages = prompted(upstream.prompt, call.value["messages"])
        if messages is None and not (passages or said or tools or "tunesmith" in call.value):
            return call.body
        told = grounded(call.value["messages"] if messages is None else messages, passages)
        value = {name: each for name, each in call.value.items() if name != "tunesmith"}
        return json.dumps(with_tools(value | {"messages": [*told, *said]}, tools or {})).encode()

    return Parcel(call.request.path, headers, body_for)


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
