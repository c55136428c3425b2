"""The built-in engine: `transformers serve` on one model, in this process, ready once it has answered a completion."""

import json
import os
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from tunesmith_api.contract import HOST_VARIABLE, READY_VARIABLE, ServeRun
from tunesmith_runtime import storage
from tunesmith_runtime.errors import PortTakenError
from tunesmith_runtime.progress import ProgressReporter

POLL_SECONDS = 0.5


def serve(config: ServeRun, reporter: ProgressReporter) -> None:
    """Serve until told to stop by SIGTERM or SIGINT. Clients call the model by the ModelServe's name.

    Raises ModelError when there is no model and PortTakenError when another program has the port.
    """
    host = os.environ.get(HOST_VARIABLE, "127.0.0.1")
    model = storage.model_path(config.model)
    _check_port(host, config.port)
    reporter.update(state="Starting", stage="loading the model")
    threading.Thread(target=_announce, args=(config, reporter), daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="tunesmith-serve-") as cache:
        _lay_out_cache(Path(cache), config.run.name, model.resolve())
        os.environ["HF_HUB_CACHE"] = cache
        os.environ["HF_HUB_OFFLINE"] = "1"
        _transformers_serve(config.run.name, host, config.port)


def _lay_out_cache(cache: Path, name: str, model: Path) -> None:
    """Make a Hugging Face cache of links that holds just this model, under the name that users know.

    The server calls a model what it was loaded as and lists what its cache holds: so it lists this model, not whatever
    else was once downloaded here.
    """
    repository, revision = cache / f"models--{name}", "0" * 40
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    (repository / "blobs").mkdir()
    for file in model.iterdir():
        if file.is_file():
            (snapshot / file.name).symlink_to(file)


def _transformers_serve(name: str, host: str, port: int) -> None:
    from transformers.cli.transformers import main

    sys.argv = ["transformers", "serve", name, "--host", host, "--port", str(port)]
    main()


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} on {host} is taken by another program; stop it or set spec.port"
            ) from error


def _announce(config: ServeRun, reporter: ProgressReporter) -> None:
    """Wait for the first completion, then say where the server is."""
    url = f"http://127.0.0.1:{config.port}"
    while not _answers(url, config.run.name):
        time.sleep(POLL_SECONDS)
    reporter.update(state="Running", stage="serving", url=url)
    if ready := os.environ.get(READY_VARIABLE):
        Path(ready).touch()


def _answers(url: str, model: str) -> bool:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    request = urllib.request.Request(  # noqa: S310 - our own address
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
    except (OSError, ValueError):
        return False
    return bool(answer.get("choices"))
