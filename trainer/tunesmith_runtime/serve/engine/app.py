"""OpenAI's API over HTTP: each route reads a request, has it answered, and puts the answer into its form."""

import base64
import json
import struct
import traceback
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tunesmith_runtime.serve.engine.asking import chat_question, completion_question, parsed, tokens_of_input
from tunesmith_runtime.serve.engine.channel import Channel, ClientGoneError
from tunesmith_runtime.serve.engine.engine import Engine
from tunesmith_runtime.serve.engine.questions import Piece, Question
from tunesmith_runtime.serve.engine.refusals import Refusal, wrong
from tunesmith_runtime.serve.engine.replies import ChatReply, CompletionReply, Reply
from tunesmith_runtime.serve.engine.requests import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Generating,
)
from tunesmith_runtime.serve.engine.tool_calls import CallingReply, ToolCalls, template_of

# Of a request's body.
MOST_BYTES = 8 * 1024 * 1024
# What a client that has gone away would be told.
_GONE = Response(status_code=499)


def application(engine: Engine) -> Starlette:
    """Return the application."""
    routes = _Routes(engine)
    return Starlette(
        routes=[
            Route("/health", routes.health),
            Route("/v1/models", routes.models),
            Route("/v1/models/{name:path}", routes.model),
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
            Route("/v1/completions", routes.complete, methods=["POST"]),
            Route("/v1/embeddings", routes.embeddings, methods=["POST"]),
        ],
        exception_handlers={
            Refusal: _refused,
            HTTPException: _no_such_route,
            ClientGoneError: _gone,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )


class _Routes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def health(self, _: Request) -> Response:
        """Say whether requests are taken."""
        healthy = self._engine.healthy
        return JSONResponse(
            {"status": "ok" if healthy else "unavailable"},
            HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE,
        )

    async def models(self, _: Request) -> Response:
        """List the model and its adapters."""
        names = [self._engine.name, *self._engine.adapters]
        return JSONResponse({"object": "list", "data": [self._about(name) for name in names]})

    async def model(self, request: Request) -> Response:
        """Tell of one of them."""
        name = request.path_params["name"]
        self._engine.adapter_of(name)
        return JSONResponse(self._about(name))

    def _about(self, name: str) -> dict[str, Any]:
        engine = self._engine
        return {
            "id": name,
            "object": "model",
            "created": engine.created,
            "owned_by": "tunesmith",
            "root": engine.adapters.get(name, engine.config.model),
            "parent": engine.name if name in engine.adapters else None,
        }

    async def chat(self, request: Request) -> Response:
        """Answer a chat."""
        body = parsed(await _body(request), ChatRequest)
        model, adapter = self._writing(body)
        question = await self._engine.aside(chat_question, body, model.served, adapter)
        reply = ChatReply(body.model, question, model.texts, with_usage=body.wants_usage)
        if (template := template_of(body, model.served.tokenizer)) is not None:
            prompt = str(model.served.tokenizer.decode(question.prompts[0]))
            calls = ToolCalls(template, prompt, body.tools or [])
            reply = CallingReply(body.model, question, model.texts, calls, with_usage=body.wants_usage)
        return await self._answered(request, body, question, reply)

    async def complete(self, request: Request) -> Response:
        """Continue a text."""
        body = parsed(await _body(request), CompletionRequest)
        model, adapter = self._writing(body)
        question = await self._engine.aside(completion_question, body, model.served, adapter)
        echo = None
        if body.echo:
            tokenizer = model.served.tokenizer
            echo = [each if isinstance(each, str) else str(tokenizer.decode(each)) for each in body.prompt]
        reply = CompletionReply(body.model, question, model.texts, with_usage=body.wants_usage, echo=echo)
        return await self._answered(request, body, question, reply)

    async def embeddings(self, request: Request) -> Response:
        """Return what texts mean to the model, as vectors."""
        body = parsed(await _body(request), EmbeddingRequest)
        served = self._engine.model.served
        adapter = self._engine.adapter_of(body.model)
        rows = await self._engine.aside(tokens_of_input, body.input, served)
        encode = _packed if body.encoding_format == "base64" else list
        data = [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(await self._engine.embedded(rows, adapter))
        ]
        tokens = sum(map(len, rows))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": data, "model": body.model, "usage": usage})

    def _writing(self, body: Generating) -> tuple[Any, str | None]:
        model = self._engine.model
        adapter = self._engine.adapter_of(body.model)
        if not model.served.writes:
            raise wrong(f"the model {body.model} is an encoder: it gives embeddings, and writes nothing", "model")
        return model, adapter

    async def _answered(self, request: Request, body: Generating, question: Question, reply: Reply) -> Response:
        # While the request became tokens, its adapter may have been unloaded.
        self._engine.adapter_of(body.model)
        channel = Channel(question, request)
        try:
            self._engine.model.scheduler.submit(channel.asked)
            first = await channel.first()
            if not body.stream:
                return JSONResponse(reply.whole([piece async for piece in channel.pieces(first)]))
        except BaseException:
            channel.close()
            raise
        finally:
            if not body.stream:
                channel.close()
        return StreamingResponse(_events(channel, first, reply), media_type="text/event-stream", headers=_NO_STORE)


_NO_STORE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def _events(channel: Channel, first: Piece, reply: Reply) -> AsyncIterator[str]:
    """Yield the events of a stream; what goes wrong in its middle is the last one."""
    try:
        for each in reply.opening():
            yield _event(each)
        async for piece in channel.pieces(first):
            yield _event(reply.chunk(piece))
        for each in reply.closing():
            yield _event(each)
        yield "data: [DONE]\n\n"
    except Refusal as refusal:
        yield _event(refusal.body)
    except ClientGoneError:
        return
    finally:
        channel.close()


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n"


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have {MOST_BYTES} bytes; send less at once"
            )
    return bytes(body)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - it is registered for them
    return JSONResponse(error.body, error.status, error.headers)


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for them
    sentence = f"{request.method} {request.url.path}: {error.detail}"
    refusal = Refusal(HTTPStatus(error.status_code), sentence)
    return JSONResponse(refusal.body, error.status_code, error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    """Answer for what nobody expected; the error itself goes into the log."""
    traceback.print_exception(error)
    refusal = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"the server failed: {type(error).__name__}; its log says more")
    return JSONResponse(refusal.body, refusal.status)


async def _gone(_: Request, error: Exception) -> Response:
    return _GONE
