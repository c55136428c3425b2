"""The page on which people vote, and the API that it talks to. Both answer only to who has the page's key."""

import base64
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote, unquote, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from tunesmith_runtime.errors import NotWritableError
from tunesmith_runtime.evaluate.rating.votes import LONGEST_NAME, VoteRefusedError, Votes, name_of
from tunesmith_runtime.pages import templates

KEY_HEADER = "x-rating-key"
COOKIE = "tunesmith-rater"
_COOKIE_SECONDS = 365 * 24 * 3600
# Of a request's body: a name or a vote fits many times.
MOST_BYTES = 4096
_TEMPLATES = Path(__file__).parent.parent / "templates"
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Name(_Body):
    name: str


class _Vote(_Body):
    pair: str = Field(max_length=64)
    choice: Literal["first", "second", "tie"]


class _Nothing(_Body):
    pass


class _RefusedError(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


BodyT = TypeVar("BodyT", bound=_Body)


def application(votes: Votes, instructions: str, secret: str, finished: Callable[[], None]) -> FastAPI:
    """Return the application. It calls `finished` once it has answered the vote that completes the suite."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    page, policy = _page()

    @app.middleware("http")
    async def guarded(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await follow(request) if _has_key(request, secret) else _without_key()
        response.headers.update({**_HEADERS, "Content-Security-Policy": policy})
        return response

    @app.exception_handler(_RefusedError)
    async def refused(_: Request, error: _RefusedError) -> Response:
        return _sentence(error.status, str(error))

    @app.get("/")
    async def rating_page() -> Response:
        return HTMLResponse(page)

    @app.get("/api/state")
    async def state(request: Request) -> Response:
        return await _state(_rater(request))

    @app.post("/api/name")
    async def name(request: Request) -> Response:
        rater = name_of((await _read(request, _Name)).name)
        if rater is None:
            raise _RefusedError(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"Give a name of 1 to {LONGEST_NAME} characters that can be printed."
            )
        response = await _state(rater)
        response.set_cookie(COOKIE, quote(rater, safe=""), max_age=_COOKIE_SECONDS, httponly=True, samesite="strict")
        return response

    @app.post("/api/votes")
    async def vote(request: Request) -> Response:
        body, rater = await _read(request, _Vote), _known_rater(request)
        return await _changed(rater, lambda: votes.add(rater, body.pair, body.choice))

    @app.post("/api/undo")
    async def undo(request: Request) -> Response:
        await _read(request, _Nothing)
        rater = _known_rater(request)
        return await _changed(rater, lambda: votes.undo(rater))

    async def _changed(rater: str, change: Callable[[], None]) -> Response:
        try:
            await run_in_threadpool(change)
        except VoteRefusedError as error:
            raise _RefusedError(HTTPStatus.CONFLICT, str(error)) from error
        except (OSError, NotWritableError) as error:
            raise _RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, f"The vote could not be kept; give it again. ({error})"
            ) from error
        response = await _state(rater)
        if votes.complete:
            finished()
        return response

    async def _state(rater: str | None) -> Response:
        return JSONResponse(await run_in_threadpool(_described, votes, instructions, rater))

    return app


def _described(votes: Votes, instructions: str, rater: str | None) -> dict[str, Any]:
    """Return what the page shows a person."""
    pair = votes.next_for(rater) if rater else None
    shown = None
    if rater and pair:
        answers = [_whole(pair.target), _whole(pair.baseline)]
        order = 1 if votes.target_first(pair.id, rater) else -1
        shown = {"id": pair.id, "prompt": _whole(pair.prompt), "answers": answers[::order]}
    return {
        "rater": rater,
        "instructions": _whole(instructions),
        "given": votes.given,
        "needed": votes.needed,
        "own": votes.own(rater) if rater else 0,
        "pair": shown,
        "complete": votes.complete,
    }


def _whole(text: str) -> str:
    """Return a text with a question mark for each half of a character, which no page can show."""
    return text.encode("utf-8", "replace").decode()


def _page() -> tuple[str, str]:
    """Return the page, and the Content-Security-Policy that allows its own style and script, by digest, alone."""
    text = templates(_TEMPLATES).get_template("rating.html.j2").render(longest_name=LONGEST_NAME)
    style, script = (_digests(tag, text) for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


def _digests(tag: str, page: str) -> str:
    parts = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in parts)


def _has_key(request: Request, secret: str) -> bool:
    given = request.headers.get(KEY_HEADER) or (request.query_params.get("key", "") if request.url.path == "/" else "")
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())


def _without_key() -> Response:
    return PlainTextResponse(
        "This page opens only with its key: use the whole URL, as `status.ratingUrl` of the EvalJob has it.\n",
        HTTPStatus.FORBIDDEN,
    )


def _sentence(status: HTTPStatus, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status)


def _rater(request: Request) -> str | None:
    return name_of(unquote(request.cookies.get(COOKIE, "")))


def _known_rater(request: Request) -> str:
    rater = _rater(request)
    if rater is None:
        raise _RefusedError(HTTPStatus.UNAUTHORIZED, "Give your name first.")
    return rater


async def _read(request: Request, model: type[BodyT]) -> BodyT:
    """Return the body of a request that only the page itself sends: JSON, of the same origin, and short."""
    origin = request.headers.get("origin")
    elsewhere = request.headers.get("sec-fetch-site", "same-origin") != "same-origin"
    if elsewhere or (origin is not None and urlsplit(origin).netloc != request.headers.get("host")):
        raise _RefusedError(HTTPStatus.FORBIDDEN, "Only the page itself may vote.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON, as the page does.")
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Send no more than {MOST_BYTES} bytes.")
    except ClientDisconnect as error:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "The request was cut off.") from error
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "This is no request of the page's.") from error
