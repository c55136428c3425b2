"""A request and what became of it, for the log, the metrics and storage."""

import time
from dataclasses import dataclass, field
from typing import Any

from tunesmith_api.traffic import Upstream
from tunesmith_runtime.serve.gateway.incoming import Incoming
from tunesmith_runtime.serve.gateway.tally import Tally

# What the log and the metrics call a request whose client did not wait for the answer.
CLIENT_GONE = 499


@dataclass
class Exchange:
    """What is known of a request by now."""

    request: Incoming
    # A name of few: the path, if it is one that there is.
    endpoint: str
    began: float = field(default_factory=time.monotonic)
    came_at: float = field(default_factory=time.time)
    caller: str | None = None
    upstream: Upstream | None = None
    status: int | None = None
    # The code of the gateway's own error, if it refused the request or had to break the answer off.
    code: str | None = None
    first_byte_seconds: float | None = None
    # Of a request that goes to a revision; `sampled`: it is to be kept; `graded`: its answer is to be graded.
    body: bytes = b""
    sampled: bool = False
    graded: bool = False
    tally: Tally | None = None

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self.began

    @property
    def revision(self) -> int | None:
        """The revision that was asked last."""
        return self.upstream.revision if self.upstream else None

    @property
    def answered(self) -> bool:
        """Whether a revision has answered."""
        return self.upstream is not None and self.status is not None and self.status < 400

    @property
    def prompt_tokens(self) -> int:
        """Tokens that were read; none of what was refused."""
        return self.tally.prompt_tokens if self.tally and self._paid else 0

    @property
    def completion_tokens(self) -> int:
        """Tokens that were written."""
        return self.tally.completion_tokens if self.tally and self._paid else 0

    @property
    def _paid(self) -> bool:
        return self.answered or (self.upstream is not None and self.status == CLIENT_GONE)

    def byte_came(self) -> None:
        """Note when the first part of the answer came."""
        if self.first_byte_seconds is None:
            self.first_byte_seconds = self.seconds

    def log_fields(self) -> dict[str, Any]:
        """Return what the log says of it, which is nothing of its contents."""
        return {
            "id": self.request.id,
            "method": self.request.method,
            "path": self.request.path[:200],
            "key": self.caller,
            "revision": self.revision,
            "status": self.status,
            "code": self.code,
            "seconds": round(self.seconds, 4),
            "firstByteSeconds": None if self.first_byte_seconds is None else round(self.first_byte_seconds, 4),
            "promptTokens": self.prompt_tokens if self.tally else None,
            "completionTokens": self.completion_tokens if self.tally else None,
        }
