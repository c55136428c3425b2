"""The serving process: its port is open while the model is loaded, and it ends when all that was taken is answered."""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import uvicorn

from tunesmith_api.contract import ADAPTERS_VARIABLE, HOST_VARIABLE, READY_VARIABLE, ServeRun
from tunesmith_runtime import process
from tunesmith_runtime.errors import PortTakenError
from tunesmith_runtime.models.kept import kept_model
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.serve.engine.adapting import Adapting, without_those_gone
from tunesmith_runtime.serve.engine.app import application
from tunesmith_runtime.serve.engine.engine import Engine
from tunesmith_runtime.serve.engine.served import load

# How long the last answers may take to reach their clients.
_LAST_SECONDS = 2
# Connections at the same time.
_MOST_CONNECTIONS = 2048


def serve(config: ServeRun, reporter: ProgressReporter) -> None:
    """Serve until told to stop by SIGTERM. Clients call the model by the ModelServe's name.

    Raises ModelError when there is no model and PortTakenError when another program has the port.
    """
    host = os.environ.get(HOST_VARIABLE, "127.0.0.1")
    adapters = Path(path) if (path := os.environ.get(ADAPTERS_VARIABLE)) else None
    engine = Engine(without_those_gone(config, adapters) if adapters else config)
    with _bound(host, config.port) as listener, process.finishing(engine.drain, config.grace_seconds):
        with listening(engine, listener) as port:
            reporter.update(state="Starting", stage="loading the model")
            torch.set_num_threads(process.cpus())
            scheduler = engine.open(load(kept_model(config.model, config.digest)))
            engine.answer_once()
            announce = partial(_announce, reporter, port)
            if adapters:
                Adapting(engine, adapters, reporter).start(announce)
            else:
                announce()
            scheduler.run()
        sys.stdout.flush()
        # All that was taken is answered: that is no failure.
        process.end_now(0)


def _announce(reporter: ProgressReporter, port: int) -> None:
    """Say that it serves."""
    reporter.update(state="Running", stage="serving", url=f"http://127.0.0.1:{port}")
    if ready := os.environ.get(READY_VARIABLE):
        Path(ready).touch()


@contextmanager
def listening(engine: Engine, listener: socket.socket) -> Iterator[int]:
    """Serve in a thread; give the port. Answers that are under way at the end get a moment to arrive."""
    server = uvicorn.Server(
        uvicorn.Config(
            application(engine),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(2 * _LAST_SECONDS)


def _bound(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise PortTakenError(f"port {port} on {host} is taken by another program; stop it or set spec.port") from error
