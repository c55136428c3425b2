"""The first line of defence: connections that send their headers slowly, without end, or wrongly."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tunesmith_runtime.serve.gateway.refusals import error_body

# From a connection's first byte, or a request's, to the end of the headers.
HEADER_SECONDS = 10.0
HEADER_BYTES = 64 * 1024


class EdgeProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, with bounds on headers and with refusals in OpenAI's shape."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_headers = True
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the headers of a request."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Refuse headers that have no end."""
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADER_BYTES and not self.transport.is_closing():
            self._refuse(431, "headers_too_large", f"the request's headers are larger than {HEADER_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Expect the headers of the connection's next request."""
        super().on_message_begin()
        if not self._in_headers:
            self._header_bytes = 0
            self._expect_headers()

    def on_headers_complete(self) -> None:
        """Let the request take its time from here on."""
        self._stop_timer()
        self._in_headers = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(400, "invalid_http", "the request is no valid HTTP")

    def _expect_headers(self) -> None:
        self._in_headers = True
        self._stop_timer()
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._too_late)

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            self._refuse(
                408, "header_timeout", f"the request's headers did not arrive within {HEADER_SECONDS:g} seconds"
            )

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer and close, unless an answer to an earlier request of the connection is under way."""
        if self.cycle is None or self.cycle.response_complete:
            body = error_body(status, code, message)
            self.transport.write(
                STATUS_LINE[status]
                + b"content-type: application/json\r\nconnection: close\r\n"
                + f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )
        self.transport.close()
