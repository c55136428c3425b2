"""The page is served until there are enough votes."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from tunesmith_api.contract import HOST_VARIABLE, RATING_PORT, RATING_URL_VARIABLE
from tunesmith_runtime.errors import PortTakenError, RunError
from tunesmith_runtime.evaluate.rating.page import application
from tunesmith_runtime.evaluate.rating.votes import Votes

# How long answers that are under way may take once there are enough votes, in seconds.
_GRACE_SECONDS = 3
# Requests at once: more people than ever vote together.
_MOST_REQUESTS = 256


class PageFailedError(RunError):
    """The page has ended before there were enough votes."""


@dataclass(frozen=True)
class Served:
    """A page that is being served: where, with its key."""

    url: str
    votes: Votes
    over: threading.Event

    def wait(self) -> None:
        """Return once there are enough votes. Raises PageFailedError when the server has ended before."""
        self.over.wait()
        if not self.votes.complete:
            raise PageFailedError("the page for votes has ended before there were enough; the votes so far are kept")


@contextmanager
def served(votes: Votes, instructions: str, secret: str) -> Iterator[Served]:
    """Serve the page in a thread: on RATING_PORT behind the URL that $TUNESMITH_RATING_URL names, else on a free port.

    Raises PortTakenError.
    """
    host, outside = os.environ.get(HOST_VARIABLE, "127.0.0.1"), os.environ.get(RATING_URL_VARIABLE)
    over = threading.Event()
    with _listening(host, RATING_PORT if outside else 0) as listener:
        url = outside or f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(
                application(votes, instructions, secret, over.set),
                log_config=None,
                access_log=False,  # its lines would have the key in them
                server_header=False,
                lifespan="off",
                ws="none",
                limit_concurrency=_MOST_REQUESTS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )

        def serve() -> None:
            try:
                server.run(sockets=[listener])
            finally:
                over.set()

        thread = threading.Thread(target=serve, name="rating", daemon=True)
        thread.start()
        try:
            yield Served(f"{url}/?key={secret}", votes, over)
        finally:
            server.should_exit = True
            thread.join(2 * _GRACE_SECONDS)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise PortTakenError(
            f"the page for votes cannot be served on port {port} of {host}: {error.strerror}; stop what has the port"
        ) from error
