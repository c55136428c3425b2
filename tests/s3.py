"""A real S3 server of this machine, moto's, that can be told to refuse."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import pytest
import s3fs
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "workshop"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}

Environ = dict[str, Any]
# What a server answers instead of its own answer: the status line and S3's code.
Answer = tuple[str, str]

DENIED: Answer = ("403 Forbidden", "AccessDenied")
BUSY: Answer = ("503 Service Unavailable", "ServiceUnavailable")


class _Quiet(WSGIRequestHandler):
    def log(self, *arguments: Any) -> None:
        pass


@dataclass
class S3Server:
    """moto behind a door that `refuse` can close."""

    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    _refusal: Callable[[str, str], Answer | None] = lambda method, path: None

    def start(self) -> None:
        """Serve on a free port, with one empty bucket."""
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._app, threaded=True, request_handler=_Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.files.makedirs(BUCKET, exist_ok=True)  # all servers of a process share their buckets

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to use it."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "2"}

    @property
    def files(self) -> Any:
        """Return a client of the tests' own, which is never refused."""
        return s3fs.S3FileSystem(endpoint_url=self.url, key="tests", secret="tests", use_listings_cache=False)

    def names(self, folder: str) -> list[str]:
        """Return what lies below a folder of the bucket, by path from there."""
        root = f"{BUCKET}/{folder}".rstrip("/") + "/"
        return sorted(str(name).removeprefix(root) for name in self.files.find(root))

    def write(self, objects: dict[str, str]) -> None:
        """Write objects of the bucket by key."""
        for key, text in objects.items():
            self.files.pipe_file(f"{BUCKET}/{key}", text.encode())

    def read(self, key: str) -> str:
        """Return the text of an object of the bucket."""
        return str(self.files.cat_file(f"{BUCKET}/{key}").decode())

    def refuse(self, refusal: Callable[[str, str], Answer | None]) -> None:
        """Answer what `refusal` says for a method and a path, and by itself where that says None."""
        self._refusal = refusal

    def empty(self) -> None:
        """Refuse nothing any more and delete everything."""
        self.refuse(lambda method, path: None)
        self.requests.clear()
        for name in self.names(""):
            self.files.rm_file(f"{BUCKET}/{name}")

    def _app(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if "Credential=tests/" not in environ.get("HTTP_AUTHORIZATION", ""):
            self.requests.append((method, path))
            if answer := self._refusal(method, path):
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                body = f"<Error><Code>{answer[1]}</Code><Message>so says the test</Message></Error>".encode()
                start_response(answer[0], [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
                return [] if method == "HEAD" else [body]
        served: Iterable[bytes] = self._moto(environ, start_response)
        return served


def use(monkeypatch: pytest.MonkeyPatch, server: S3Server) -> None:
    """Let this process use the server."""
    for name in ("AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
