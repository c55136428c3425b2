"""Requests as they come in: nothing of them is trusted before it has been looked at."""

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from tunesmith_api.serving.bounds import RequestBounds
from tunesmith_runtime.serve.gateway.refusals import ClientGoneError, Refusal

Receive = Callable[[], Awaitable[Any]]
ShapeT = TypeVar("ShapeT", bound=BaseModel)

# Headers that say something different when they come twice.
_SINGLE = {"authorization", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"}
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_JSON = re.compile(r"application/json\s*(;\s*charset\s*=\s*\"?utf-?8\"?\s*)?", re.IGNORECASE)
_SHOWN_PROBLEMS = 3


@dataclass(frozen=True)
class Incoming:
    """A request without its body. Of headers that came more than once the last one counts."""

    method: str
    path: str
    query: bytes
    headers: dict[str, str]
    repeated: frozenset[str]
    id: str

    def check(self) -> None:
        """Raise Refusal for headers that contradict each other, and for a query."""
        if twice := sorted(self.repeated & _SINGLE):
            raise Refusal(
                400, "repeated_header", f"the header {twice[0]} came more than once; send it once", close=True
            )
        if "content-length" in self.headers and "transfer-encoding" in self.headers:
            raise Refusal(
                400,
                "conflicting_headers",
                "content-length and transfer-encoding both say how long the body is; send one of them",
                close=True,
            )
        if self.query:
            raise Refusal(
                400, "unexpected_query", f"{self.path} takes no parameters in its address; drop all from ? on"
            )


def incoming(scope: Any) -> Incoming:
    """Return the request that an ASGI scope stands for, with an identifier of its own unless it brings one."""
    headers: dict[str, str] = {}
    repeated: set[str] = set()
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in headers:
            repeated.add(key)
        headers[key] = value.decode("latin-1")
    given = headers.get("x-request-id", "")
    identifier = given if _ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"
    return Incoming(
        scope["method"], scope["path"], scope.get("query_string", b""), headers, frozenset(repeated), identifier
    )


@dataclass
class BodyRoom:
    """How many bytes of bodies are held at once by all requests together."""

    most: int
    taken: int = field(default=0)

    def take(self, size: int) -> None:
        """Take room. Raises Refusal when there is none."""
        if self.taken + size > self.most:
            raise Refusal(503, "overloaded", "too many large requests at once; try again", retry_after=1, close=True)
        self.taken += size

    def give_back(self, size: int) -> None:
        """Give room back."""
        self.taken -= size


async def read_body(request: Incoming, receive: Receive, bounds: RequestBounds, room: BodyRoom) -> bytes:
    """Return a body, which must be JSON by its headers; its room is taken. Raises Refusal and ClientGoneError."""
    _check_content(request)
    most = bounds.max_bytes
    if _length(request) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(bounds.body_timeout_seconds):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGoneError
                if part := message.get("body", b""):
                    if size + len(part) > most:
                        raise _too_large(most)
                    room.take(len(part))
                    size += len(part)
                    parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except BaseException as error:
        room.give_back(size)
        if isinstance(error, TimeoutError):
            raise Refusal(
                408,
                "body_timeout",
                f"the request's body did not arrive within {bounds.body_timeout_seconds} seconds",
                close=True,
            ) from None
        raise


def parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. Raises Refusal for anything else, and for what two readers could read apart."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise Refusal(400, "invalid_utf8", f"the body is no UTF-8: byte {error.start} of it cannot be") from None
    except RecursionError:
        raise Refusal(400, "invalid_json", "the body is nested too deeply") from None
    except ValueError as error:
        raise Refusal(400, "invalid_json", f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refusal(400, "invalid_json", "the body must be a JSON object")
    return value


def shaped(value: dict[str, Any], shape: type[ShapeT]) -> ShapeT:
    """Return the body as what it must be. Raises Refusal, whose sentence names the fields that are wrong."""
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(step) for step in each['loc']) or 'body'}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False, include_context=False)[:_SHOWN_PROBLEMS]
        ]
        raise Refusal(400, "invalid_request", "; ".join(problems)) from None


def _check_content(request: Incoming) -> None:
    kind = request.headers.get("content-type")
    if kind is None or not _JSON.fullmatch(kind.strip()):
        raise Refusal(
            415, "unsupported_media_type", "the body must be JSON; send content-type: application/json", close=True
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "unsupported_encoding", "the body must not be compressed; drop content-encoding", close=True)


def _length(request: Incoming) -> int:
    given = request.headers.get("content-length", "0")
    if not (given.isascii() and given.isdigit()):
        raise Refusal(400, "invalid_header", "content-length is no number", close=True)
    return int(given[:20])


def _too_large(most: int) -> Refusal:
    return Refusal(413, "request_too_large", f"the request's body is larger than {most} bytes", close=True)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"an object has the field {twice[:64]!r} twice")
    return values


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
