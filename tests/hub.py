"""A small stand-in for the Hugging Face Hub on this machine: datasets and models of one commit each."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response


class _Quiet(WSGIRequestHandler):
    def log(self, *arguments: Any) -> None:
        pass


@dataclass
class HubServer:
    """Answers what the Hub's libraries ask; `files` maps ORG/NAME to the files of a dataset or model."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    broken: bool = False

    def commit(self, name: str) -> str:
        """Return the commit that every branch of a dataset or model stands at."""
        content = json.dumps([[path, data.hex()] for path, data in sorted(self.files[name].items())])
        return hashlib.sha1(content.encode()).hexdigest()

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        if self.broken:
            return Response("down for repairs", 503)
        match request.path.strip("/").split("/"):
            case ["datasets", org, name, "resolve", revision, *path] | [org, name, "resolve", revision, *path]:
                return self._file(f"{org}/{name}", revision, "/".join(path))
            case ["api", "datasets" | "models", org, name, *rest]:
                return self._about(f"{org}/{name}", rest, request)
            case _:
                return Response("no such page", 404)

    def _missing(self, name: str, revision: str) -> Response | None:
        if name not in self.files:
            return Response("no such repository", 401, {"X-Error-Code": "RepoNotFound"})
        if revision not in {"main", self.commit(name)}:
            return Response("no such revision", 404, {"X-Error-Code": "RevisionNotFound"})
        return None

    def _file(self, name: str, revision: str, path: str) -> Response:
        if missing := self._missing(name, revision):
            return missing
        if path not in self.files[name]:
            return Response("no such file", 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.commit(name)})
        content = self.files[name][path]
        etag = hashlib.sha1(content).hexdigest()
        return Response(content, 200, {"ETag": f'"{etag}"', "X-Repo-Commit": self.commit(name)})

    def _about(self, name: str, rest: list[str], request: Request) -> Response:
        revision = rest[1] if len(rest) > 1 else "main"
        if missing := self._missing(name, revision):
            return missing
        files = self.files[name]
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in files.items()
        ]
        match rest[:1]:
            case ["tree"]:
                folder = "".join(f"{part}/" for part in rest[2:])
                below = [entry for entry in entries if str(entry["path"]).startswith(folder)]
                return _json(below if _asks_for_all(request) else _listed(below, folder))
            case ["paths-info"]:
                asked = set(
                    json.loads(request.get_data())["paths"] if request.is_json else request.form.getlist("paths")
                )
                return _json([entry for entry in entries if entry["path"] in asked])
            case _:
                return _json(
                    {"id": name, "sha": self.commit(name), "siblings": [{"rfilename": path} for path in files]}
                )


def _asks_for_all(request: Request) -> bool:
    return request.args.get("recursive", "").lower() in {"true", "1"}


def _listed(entries: list[dict[str, Any]], folder: str) -> list[dict[str, Any]]:
    """Return what lies in the folder itself: its files, and the folders in it."""
    inside = [(entry, str(entry["path"]).removeprefix(folder)) for entry in entries]
    folders = dict.fromkeys(name.partition("/")[0] for _, name in inside if "/" in name)
    return [
        *({"type": "directory", "path": folder + name, "size": 0, "oid": name} for name in folders),
        *(entry for entry, name in inside if "/" not in name),
    ]


def read_in_process(
    hub: HubServer, cache: Path, *sources: dict[str, str], offline: bool = False
) -> list[dict[str, Any]]:
    """Read datasets in a process whose Hub this is, as the libraries take its address from their environment.

    Returns for each the digest and the rows, or the message of the error and whether it is retryable.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    program = subprocess.run(
        [sys.executable, "-m", "tests.hub", json.dumps(sources)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers: list[dict[str, Any]] = json.loads(program.stdout.splitlines()[-1])
    return answers


def _main(sources: list[dict[str, str]]) -> None:
    from tunesmith_api.data import DatasetSource
    from tunesmith_runtime.data.reading import open_rows
    from tunesmith_runtime.errors import RunError

    answers: list[dict[str, Any]] = []
    for source in sources:
        try:
            rows = open_rows(DatasetSource.model_validate({"format": "text", **source}))
            answers.append({"digest": rows.digest, "rows": [[row.place, row.value] for row in rows.read()]})
        except RunError as error:
            answers.append({"message": error.message, "retryable": error.retryable})
    sys.stdout.write(json.dumps(answers))


def _json(value: object) -> Response:
    return Response(json.dumps(value), 200, {"Content-Type": "application/json"})


@contextmanager
def serving() -> Iterator[HubServer]:
    """Serve an empty Hub on a free port."""
    hub = HubServer()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return hub.answer(Request(environ))(environ, start_response)

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
