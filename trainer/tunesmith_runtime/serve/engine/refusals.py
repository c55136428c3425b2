"""What a client is told when there is no answer, in the shape that OpenAI's clients know."""

from http import HTTPStatus
from typing import Any

# Seconds after which a client may well ask again.
RETRY_AFTER = 2


class Refusal(Exception):  # noqa: N818 - most are no errors of ours
    """A request that is answered with a status and a sentence."""

    def __init__(
        self,
        status: HTTPStatus,
        sentence: str,
        *,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.param = param
        self.code = code

    @property
    def body(self) -> dict[str, Any]:
        """The answer's body."""
        kind = "invalid_request_error" if self.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Further headers of the answer."""
        return {"Retry-After": str(RETRY_AFTER)} if self.status == HTTPStatus.SERVICE_UNAVAILABLE else {}


def wrong(sentence: str, param: str | None = None, code: str | None = None) -> Refusal:
    """Return the refusal of a request that is wrong."""
    return Refusal(HTTPStatus.BAD_REQUEST, sentence, param=param, code=code)


def unavailable(sentence: str) -> Refusal:
    """Return the refusal of a request that may be sent again."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, sentence, code="unavailable")
