"""The gateway's process: it listens, follows its routes, reports, and ends without breaking answers off."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from tunesmith_api.contract import (
    API_KEYS_VARIABLE,
    HOST_VARIABLE,
    READY_VARIABLE,
    ROUTES_CONFIG_MAP_VARIABLE,
    ROUTES_VARIABLE,
    GatewayRun,
)
from tunesmith_api.serving.access import KEYS_FILE
from tunesmith_api.traffic import GatewayReport, Routes
from tunesmith_runtime import process
from tunesmith_runtime.errors import ConfigError, PortTakenError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.serve.following import FollowedFile
from tunesmith_runtime.serve.gateway import calling, tracing
from tunesmith_runtime.serve.gateway.application import Gateway
from tunesmith_runtime.serve.gateway.calling import Caller
from tunesmith_runtime.serve.gateway.cluster_routes import WatchedRoutes
from tunesmith_runtime.serve.gateway.edge import EdgeProtocol
from tunesmith_runtime.serve.gateway.forwarding import Forwarder, open_session
from tunesmith_runtime.serve.gateway.keys import Keys
from tunesmith_runtime.serve.gateway.metrics import Metrics
from tunesmith_runtime.serve.gateway.parts import Parts
from tunesmith_runtime.serve.gateway.records import Records
from tunesmith_runtime.serve.gateway.reporting import Reports
from tunesmith_runtime.serve.gateway.retrieving import Retriever
from tunesmith_runtime.serve.gateway.routing import Router
from tunesmith_runtime.serve.gateway.shadowing import Shadows
from tunesmith_runtime.serve.gateway.tooling import Tooling
from tunesmith_runtime.serve.gateway.traffic import Traffic
from tunesmith_runtime.serve.gateway.watching import Watching

# Of the grace, what is left for the rest after the last answer: records are written, the report is sent.
_CLOSING_SECONDS = 3.0
_BACKLOG = 2048
# A client's connection may be idle for so long: longer than load balancers keep theirs.
_IDLE_SECONDS = 75


def run(config: GatewayRun, reporter: ProgressReporter, hurry: Callable[[], None] | None = None) -> None:
    """Serve until told to stop by SIGTERM. `hurry` has the progress document sent on at once.

    Raises PortTakenError when another program has the port, and ConfigError when nothing says where the routes are.
    """
    if not any(os.environ.get(name) for name in (ROUTES_VARIABLE, ROUTES_CONFIG_MAP_VARIABLE)):
        raise ConfigError(f"set ${ROUTES_VARIABLE} to the file with the gateway's routes")
    reporter.update(state="Starting", stage="waiting for routes")
    end = End()
    with (
        listening(os.environ.get(HOST_VARIABLE, "127.0.0.1"), config.port) as listener,
        process.finishing(end.ask, config.grace_seconds),
    ):
        asyncio.run(serve(config, reporter, listener, end, hurry))


class End:
    """SIGTERM, as the event loop hears of it."""

    def __init__(self) -> None:
        self._asked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()

    def ask(self) -> bool:
        """Have the gateway end. Called by a signal's handler; returns that there is something to wait for."""
        self._asked = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._event.set)
        return True

    async def wait(self) -> None:
        """Return once the gateway is to end."""
        self._loop = asyncio.get_running_loop()
        if not self._asked:
            await self._event.wait()


async def serve(
    config: GatewayRun,
    reporter: ProgressReporter,
    listener: socket.socket,
    end: End,
    hurry: Callable[[], None] | None = None,
) -> None:
    """Serve on a socket until the end is asked for; then answer what has begun."""
    seconds_left = config.grace_seconds - config.drain_seconds - process.GRACE_SECONDS - process.MARGIN_SECONDS
    async with assembled(config, reporter, hurry) as parts:
        server = _Server(
            uvicorn.Config(
                Gateway(parts),
                http=EdgeProtocol,
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                lifespan="off",
                ws="none",
                timeout_keep_alive=_IDLE_SECONDS,
                timeout_graceful_shutdown=max(1, int(seconds_left - _CLOSING_SECONDS)),
            )
        )
        server.over = asyncio.Event()
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        announcing = asyncio.create_task(_announce(parts, reporter, listener.getsockname()[1]))
        await end.wait()
        announcing.cancel()
        parts.ending = True
        _mark_ready(False)
        await asyncio.sleep(config.drain_seconds)
        parts.router.end()
        server.over.set()
        await serving
        await parts.records.close()


async def _announce(parts: Parts, reporter: ProgressReporter, port: int) -> None:
    """Say that it serves once there are routes."""
    while parts.router.routes is None:
        await asyncio.sleep(0.05)
    await asyncio.to_thread(reporter.update, state="Running", stage="serving", url=f"http://127.0.0.1:{port}")
    _mark_ready(True)


def _mark_ready(ready: bool) -> None:
    if path := os.environ.get(READY_VARIABLE):
        Path(path).touch() if ready else Path(path).unlink(missing_ok=True)


@asynccontextmanager
async def assembled(
    config: GatewayRun, reporter: ProgressReporter, hurry: Callable[[], None] | None = None
) -> AsyncIterator[Parts]:
    """Give a gateway's parts, which follow their files as long as the context lasts. Raises ConfigError."""
    traffic, metrics, keys = Traffic(), Metrics(), Keys()

    def changed(routes: Routes) -> None:
        traffic.go_by(routes)
        metrics.go_by(routes)
        watching.go_by(routes)
        retriever.go_by(routes)
        reports.urge()

    router = Router(changed, lambda: reports.urge())
    watching = Watching(config.run.name, metrics)

    def report() -> GatewayReport:
        return traffic.report(router).model_copy(update={"watch": watching.report})

    reports = Reports(reporter, report, hurry)
    records, retriever = Records(metrics), Retriever(config.run.name)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_session())
        forwarder = Forwarder(session, router, traffic, metrics)
        tooling = Tooling(forwarder, Caller(await stack.enter_async_context(calling.open_session())), metrics)
        shadows = Shadows(forwarder, metrics, traffic)
        stack.push_async_callback(shadows.close)
        traces = tracing.from_environment(f"tunesmith-gateway-{config.run.name}")
        stack.callback(traces.close)
        # A part that fails ends the gateway: the process is started again, and nothing goes on by halves.
        group = await stack.enter_async_context(asyncio.TaskGroup())
        own = (reports.follow(), records.follow(), watching.follow(), retriever.follow())
        followers = [group.create_task(each) for each in (*_sources(router, keys), *own)]
        try:
            yield Parts(
                model=config.run.name,
                router=router,
                traffic=traffic,
                forwarder=forwarder,
                shadows=shadows,
                keys=keys,
                metrics=metrics,
                tracing=traces,
                records=records,
                watching=watching,
                retriever=retriever,
                tooling=tooling,
            )
            await reports.write()
        finally:
            for each in followers:
                each.cancel()


def _sources(router: Router, keys: Keys) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield what follows the routes and the API keys."""
    if folder := os.environ.get(API_KEYS_VARIABLE):
        yield FollowedFile(Path(folder, KEYS_FILE), keys.take_up).follow()
    if name := os.environ.get(ROUTES_CONFIG_MAP_VARIABLE):
        yield WatchedRoutes(name, router.take_up).follow()
    elif path := os.environ.get(ROUTES_VARIABLE):
        yield FollowedFile(Path(path), router.take_up).follow()


class _Server(uvicorn.Server):
    """uvicorn, but for signals: SIGTERM belongs to the process, which may have more to finish."""

    over: asyncio.Event

    async def main_loop(self) -> None:
        """Serve until it is over."""
        await self.on_tick(0)
        await self.over.wait()

    @contextmanager
    def capture_signals(self) -> Any:
        """Leave the signals alone."""
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what it says of broken requests is no news
        yield


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; 0 stands for a free port. Raises PortTakenError."""
    try:
        listener = socket.create_server((host, port), backlog=_BACKLOG)
        # Its connections inherit it. asyncio sets it only where a socket names its protocol, as this one does not; and
        # without it the second part of an answer waits 40 ms for the client to confirm the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise PortTakenError(
            f"port {port} on {host} cannot be listened on: {error.strerror}; stop what has it, or set spec.port"
        ) from error
