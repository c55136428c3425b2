"""What is not answered, in the shape that OpenAI's clients know."""

import json
import math
from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818 - nothing has failed
    """Ends a request with a status and a sentence. `close` ends its connection as well: more of it may be coming."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.close = close
        if retry_after is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_after)))
        if close:
            self.headers["connection"] = "close"

    def body(self) -> bytes:
        """Return the body of the answer."""
        return error_body(self.status, self.code, self.message)


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_body(status: int, code: str, message: str) -> bytes:
    """Return an error as OpenAI's API words it."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()
