"""The gateway's endpoints: an ASGI application."""

import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith_api.serving.access import Scope
from tunesmith_runtime.serve.gateway import incoming as reading
from tunesmith_runtime.serve.gateway import openapi
from tunesmith_runtime.serve.gateway.exchange import CLIENT_GONE, Exchange
from tunesmith_runtime.serve.gateway.forwarding import BrokenAnswerError
from tunesmith_runtime.serve.gateway.generating import Generating
from tunesmith_runtime.serve.gateway.incoming import Incoming, Receive
from tunesmith_runtime.serve.gateway.metrics import CONTENT_TYPE
from tunesmith_runtime.serve.gateway.outgoing import Client, Send
from tunesmith_runtime.serve.gateway.parts import Parts
from tunesmith_runtime.serve.gateway.refusals import ClientGoneError, Refusal
from tunesmith_runtime.serve.gateway.shapes import Asked, ChatRequest, CompletionRequest, EmbeddingRequest, Feedback

Handle = Callable[[Incoming, Client, Exchange], Awaitable[None]]


@dataclass(frozen=True)
class Endpoint:
    """What answers at a path, to which method; `quiet` keeps those who ask all the time out of the log."""

    method: str
    handle: Handle
    quiet: bool = False


class Gateway:
    """Answers requests by itself or by a revision."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._generating = Generating(parts)
        self._endpoints: Mapping[str, Endpoint] = {
            "/v1/chat/completions": Endpoint("POST", self._generates("chat", ChatRequest)),
            "/v1/completions": Endpoint("POST", self._generates("completions", CompletionRequest)),
            "/v1/embeddings": Endpoint("POST", self._generates("embeddings", EmbeddingRequest)),
            "/v1/models": Endpoint("GET", self._models),
            "/v1/usage": Endpoint("GET", self._usage),
            "/v1/feedback": Endpoint("POST", self._feedback),
            "/openapi.json": Endpoint("GET", self._openapi),
            "/health": Endpoint("GET", self._health, quiet=True),
            "/ready": Endpoint("GET", self._ready, quiet=True),
            "/metrics": Endpoint("GET", self._metrics, quiet=True),
        }

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        request = reading.incoming(scope)
        client = Client(receive, send, request.id)
        endpoint = self._endpoints.get(request.path)
        exchange = Exchange(request, request.path if endpoint else "other")
        try:
            await self._answered(endpoint, request, client, exchange)
        except ClientGoneError:
            exchange.status = CLIENT_GONE
        except BrokenAnswerError:
            exchange.status = 502  # without an end: the server closes the connection, and the client knows
        finally:
            exchange.status = exchange.status or client.status
            self._note(exchange, quiet=endpoint is not None and endpoint.quiet)

    async def _answered(self, endpoint: Endpoint | None, request: Incoming, client: Client, exchange: Exchange) -> None:
        try:
            if endpoint is None:
                raise Refusal(404, "unknown_path", f"there is no {request.path[:200]} here; see /openapi.json")
            if request.method != endpoint.method:
                raise Refusal(
                    405,
                    "method_not_allowed",
                    f"{request.path} takes {endpoint.method} alone",
                    headers={"allow": endpoint.method},
                )
            await endpoint.handle(request, client, exchange)
        except Refusal as refusal:
            exchange.code = refusal.code
            await client.answer(refusal.status, refusal.body(), headers=refusal.headers)
        except (ClientGoneError, BrokenAnswerError):
            raise
        except Exception:
            self._parts.log("a request failed", id=request.id, error=traceback.format_exc())
            if client.started:
                raise BrokenAnswerError from None
            failed = Refusal(500, "internal_error", "the gateway failed; its log says why")
            await client.answer(failed.status, failed.body())

    def _note(self, exchange: Exchange, *, quiet: bool) -> None:
        metrics = self._parts.metrics
        revision = "" if exchange.revision is None else str(exchange.revision)
        metrics.requests.labels(revision, exchange.endpoint, str(exchange.status)).inc()
        if exchange.code:
            metrics.refused.labels(exchange.code).inc()
        if exchange.upstream is not None:
            metrics.seconds.labels(revision).observe(exchange.seconds)
            if exchange.first_byte_seconds is not None:
                metrics.first_byte.labels(revision).observe(exchange.first_byte_seconds)
            metrics.tokens.labels(revision, "prompt").inc(exchange.prompt_tokens)
            metrics.tokens.labels(revision, "completion").inc(exchange.completion_tokens)
            self._parts.records.exchange(exchange, self._parts.router.routes)
            self._parts.watching.exchange(exchange)
        if not quiet:
            self._parts.log("request", **exchange.log_fields())

    def _generates(self, scope: Scope, shape: type[Asked]) -> Handle:
        async def handle(request: Incoming, client: Client, exchange: Exchange) -> None:
            await self._generating.answer(request, client, exchange, scope, shape)

        return handle

    async def _models(self, request: Incoming, client: Client, exchange: Exchange) -> None:
        _, routes = self._parts.caller(request, "models", exchange)
        adapters = [name for upstream in routes.upstreams if upstream.weight for name in upstream.adapters]
        about = {"object": "model", "created": self._parts.started, "owned_by": "tunesmith"}
        models = [{"id": name, **about} for name in dict.fromkeys((self._parts.model, *adapters))]
        await client.answer_json({"object": "list", "data": models})

    async def _usage(self, request: Incoming, client: Client, exchange: Exchange) -> None:
        caller, routes = self._parts.caller(request, None, exchange)
        allowed = self._parts.limits_of(caller, routes)
        await client.answer_json(
            {
                "object": "usage",
                "key": caller.name,
                "limits": allowed.to_json(),
                **self._parts.limiter.meter(caller.name).usage(),
            }
        )

    async def _feedback(self, request: Incoming, client: Client, exchange: Exchange) -> None:
        caller, routes = self._parts.caller(request, "feedback", exchange)
        meter, allowed = self._parts.limiter.meter(caller.name), self._parts.limits_of(caller, routes)
        with meter.admit(allowed, 0, exact=True):
            room = self._parts.room
            body = await reading.read_body(request, client.receive, routes.requests, room)
            room.give_back(len(body))
            feedback = reading.shaped(reading.parsed(body), Feedback)
            if routes.capture is None:
                raise Refusal(404, "feedback_not_kept", "feedback is not kept here: the ModelServe has no spec.capture")
            self._parts.records.feedback(feedback, caller.name, routes.capture)
        await client.answer_json({"object": "feedback", "request_id": feedback.request_id}, 202)

    async def _openapi(self, request: Incoming, client: Client, exchange: Exchange) -> None:
        await client.answer(200, openapi.document(self._parts.model))

    async def _health(self, request: Incoming, client: Client, exchange: Exchange) -> None:
        await client.answer_json({"status": "ok"})

    async def _ready(self, request: Incoming, client: Client, exchange: Exchange) -> None:
        if self._parts.ending:
            raise Refusal(503, "ending", "the gateway is about to end")
        self._parts.router.required()
        await client.answer_json({"status": "ready"})

    async def _metrics(self, request: Incoming, client: Client, exchange: Exchange) -> None:
        self._parts.metrics.waiting.set(self._parts.router.waiting.total())
        await client.answer(200, self._parts.metrics.exposition(), CONTENT_TYPE)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        match (await receive())["type"]:
            case "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            case "lifespan.shutdown":
                await send({"type": "lifespan.shutdown.complete"})
                return
