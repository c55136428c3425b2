"""The gateway's OpenAPI document."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tunesmith_runtime.serve.gateway.shapes import ChatRequest, CompletionRequest, EmbeddingRequest, Feedback

_BODIES: Mapping[str, tuple[type[BaseModel], str]] = {
    "/v1/chat/completions": (ChatRequest, "The assistant's next turn, whole or streamed."),
    "/v1/completions": (CompletionRequest, "How a text goes on, whole or streamed."),
    "/v1/embeddings": (EmbeddingRequest, "Texts as vectors."),
    "/v1/feedback": (Feedback, "What somebody says of an answer."),
}
_ASKED = {
    "/v1/models": "What can be asked.",
    "/v1/usage": "What the caller's key has used, and its limits.",
    "/health": "Whether the gateway lives.",
    "/ready": "Whether it takes requests.",
    "/metrics": "Its metrics, as Prometheus reads them.",
    "/openapi.json": "This document.",
}
_REFUSALS = {
    "400": "The request is wrong, or may take more tokens than there may be.",
    "401": "The API key is missing, unknown or expired.",
    "403": "The API key lacks the scope.",
    "404": "The model is not known, or feedback is not kept here.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "The revision cannot use the request.",
    "429": "A limit is reached; Retry-After says when to try again.",
    "500": "The gateway or the revision failed.",
    "502": "The revision cannot be reached or broke its answer off.",
    "503": "Nothing is ready; Retry-After says when to try again.",
    "504": "The answer took too long.",
}


def document(model: str) -> bytes:
    """Return it in JSON."""
    shapes = [shape for shape, _ in _BODIES.values()]
    _, schemas = models_json_schema(
        [(shape, "validation") for shape in shapes], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {}
    for path, (shape, summary) in _BODIES.items():
        schema = {"$ref": f"#/components/schemas/{shape.__name__}"}
        taken = "202" if shape is Feedback else "200"
        paths[path] = {
            "post": {
                "summary": summary,
                "security": [{"key": []}, {}],
                "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
                "responses": {taken: _answered(path), **_refused(_REFUSALS)},
            }
        }
    for path, summary in _ASKED.items():
        protected = path.startswith("/v1/")
        refusals = ("400", "401", "403", "429", "503") if protected else ("503",)
        paths[path] = {
            "get": {
                "summary": summary,
                **({"security": [{"key": []}, {}]} if protected else {}),
                "responses": {"200": _answered(path), **_refused({code: _REFUSALS[code] for code in refusals})},
            }
        }
    error = {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "code"],
                "properties": {name: {"type": "string"} for name in ("message", "type", "code")},
            }
        },
    }
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": f"{model}: an OpenAI-compatible endpoint", "version": "1"},
            "paths": paths,
            "components": {
                "schemas": {**schemas["$defs"], "Error": error},
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            },
        }
    ).encode()


def _answered(path: str) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {}}
    if path == "/metrics":
        content = {"text/plain": {}}
    elif path.endswith("completions"):
        content["text/event-stream"] = {}
    return {"description": "The answer.", "content": content}


def _refused(refusals: dict[str, str]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {code: {"description": text, "content": content} for code, text in refusals.items()}
