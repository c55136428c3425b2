"""Workloads as processes of this machine: started, observed, restarted when they serve, stopped."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tunesmith_api.contract import (
    ADAPTERS_VARIABLE,
    ALLOW_CODE_VARIABLE,
    CONFIG_VARIABLE,
    PROGRESS_VARIABLE,
    ROUTES_VARIABLE,
    VOLUMES_VARIABLE,
    EvaluateRun,
    GatewayRun,
    ProgressDocument,
    RunConfig,
    ServeRun,
    TrainRun,
)
from tunesmith_api.resources import Resource
from tunesmith_operator.local import files, proc
from tunesmith_operator.local.runs import EndRecord, ProcessRecord, Run, belongs_to
from tunesmith_operator.local.state import State, StateError
from tunesmith_operator.planner import ObservedWorkload, Workload
from tunesmith_operator.storage import claims_of

# How to start the runtime when it lives in another environment, such as `/opt/runtime/bin/python -m tunesmith_runtime`.
RUNTIME_VARIABLE = "TUNESMITH_RUNTIME"

# Of the environment, what a process needs to run at all: who is logged in where is not among it.
_HARMLESS = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV", ALLOW_CODE_VARIABLE})
_HARMLESS_LIKE = ("CUDA_", "LC_", "MKL_", "NVIDIA_", "OMP_", "PYTHON")

GRACE_SECONDS = 10.0
POLL_SECONDS = 0.05
FIRST_RESTART = timedelta(seconds=1)
LONGEST_RESTART = timedelta(seconds=30)
# A server that has crashed this often in a row without ever answering is not started again.
CRASHES_ALLOWED = 6


@dataclass
class _Child:
    """A process that this shell started, and what a server among them goes through."""

    run: Run
    config: RunConfig
    popen: "subprocess.Popen[bytes] | None"
    crashes: int = 0
    restart_at: datetime | None = None
    progress_seen: tuple[int, int] = field(default=(0, 0))

    @property
    def is_server(self) -> bool:
        return is_server(self.config)


class Processes:
    """The processes of one state directory. Call from one thread: a child dies with the thread that started it."""

    def __init__(self, state: State, clock: Callable[[], datetime]) -> None:
        """`clock` gives the time, with a time zone. Raises StateError when $TUNESMITH_RUNTIME names no program."""
        self._state = state
        self._clock = clock
        self._command = runtime_command(os.environ)
        self._children: dict[Run, _Child] = {}

    def recover(self) -> None:
        """Take over what an earlier shell left: its live processes are stopped, its servers are forgotten."""
        left = [Run(folder) for folder in self._state.run_folders()]
        for run in left:
            if run.process() is not None and run.end() is None:
                self._end_stray(run)
            if is_server(run.config()):
                run.forget()

    def _end_stray(self, run: Run) -> None:
        process = run.process()
        if process is not None and run.is_alive():
            proc.signal_group(process.pid, signal.SIGTERM)
            config = run.config()
            deadline = time.monotonic() + (grace_seconds(config) if config else GRACE_SECONDS)
            while run.is_alive() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            proc.signal_group(process.pid, signal.SIGKILL)
        self._sweep(run)
        run.ended(EndRecord(ended_at=self._clock(), message="the local shell stopped while it ran"))

    def observed(self, resource: Resource) -> dict[str, ObservedWorkload]:
        """Return a resource's own workloads by name, those of earlier shells included."""
        found: dict[str, ObservedWorkload] = {}
        for folder in self._state.run_folders():
            run = Run(folder)
            config = run.config()
            if run.process() is not None and config is not None and belongs_to(config, resource):
                found[run.name] = self._observe(run)
        return found

    def _observe(self, run: Run) -> ObservedWorkload:
        child = self._children.get(run)
        progress, end = run.progress(), run.end()
        if end is None:
            url = progress.url if progress else None
            since = process.started_at if (process := run.process()) else None
            ready = url is not None
            said = (progress.gateway,) if ready and progress and progress.gateway else ()
            loaded = (progress.adapters,) if ready and progress and progress.adapters else ()
            return ObservedWorkload(
                run.name,
                "Running",
                progress=progress,
                ready=ready,
                url=url,
                ready_replicas=int(ready),
                gateways=said,
                adapters=loaded,
                running_since=since,
            )
        if child and child.restart_at:
            message = f"{end.message}; it starts again at {child.restart_at:%H:%M:%S} UTC"
            return ObservedWorkload(run.name, "Pending", message, progress=None)
        return ended_workload(run.name, end, progress)

    def ensure(self, workload: Workload) -> bool:
        """Start a workload unless it is recorded already, and start a server afresh when its config has changed.

        A gateway that runs takes up its routes, and a server its adapters.

        Returns whether anything was started. Raises StateError when a claim's folder is gone.
        """
        run = Run(self._state.run_folder(workload.namespace, workload.name))
        run.tell(workload.routes, workload.adapters)
        if run.process() is not None:
            if not is_server(workload.config) or run.config() == workload.config:
                return False
            self._stop([run], killing=lambda: False)
        for claim in claims_of(workload):
            self._state.ensure_claim(claim)
        self._start(_Child(run, workload.config, popen=None))
        return True

    def _start(self, child: _Child) -> None:
        run = child.run
        run.prepare(child.config)
        environment = {
            **_given(child.config),
            CONFIG_VARIABLE: str(run.config_file.absolute()),
            PROGRESS_VARIABLE: str(run.progress_file.absolute()),
            VOLUMES_VARIABLE: str(self._state.volumes),
            **({ROUTES_VARIABLE: str(run.routes_file.absolute())} if run.routes_file.exists() else {}),
            **({ADAPTERS_VARIABLE: str(run.adapters_file.absolute())} if run.adapters_file.exists() else {}),
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        child.restart_at, child.progress_seen = None, (0, 0)
        self._children[run] = child
        now = self._clock()
        with run.log_file.open("ab") as log:
            try:
                child.popen = subprocess.Popen(
                    self._command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                    preexec_fn=proc.dies_with_parent(),
                )
            except OSError as error:
                run.started(ProcessRecord(pid=os.getpid(), start_time=-1, started_at=now))
                message = f"{shlex.join(self._command)} cannot be started: {error.strerror}"
                run.ended(EndRecord(ended_at=now, exit_code=126, message=message))
                return
        pid = child.popen.pid
        run.started(ProcessRecord(pid=pid, start_time=proc.start_time(pid) or -1, started_at=now))

    def poll(self) -> bool:
        """Look at processes and progress documents, start servers again that are due; return whether anything moved."""
        moved = False
        for child in list(self._children.values()):
            if child.popen is not None:
                code = child.popen.poll()
                if code is not None:
                    self._ended(child, code)
                    moved = True
                elif child.progress_seen != (seen := _version(child.run)):
                    child.progress_seen = seen
                    moved = True
            elif child.restart_at is not None and child.restart_at <= self._clock():
                self._start(child)
                moved = True
        return moved

    def _ended(self, child: _Child, code: int, *, stopped: bool = False) -> None:
        run, now = child.run, self._clock()
        child.popen = None
        self._sweep(run)
        said = files.last_line(run.log_file)
        message = proc.described_exit(code) + (f": {said}" if said else "")
        run.ended(EndRecord(ended_at=now, exit_code=code, stopped=stopped, message=message))
        if child.is_server and not stopped:
            progress = run.progress()
            final = progress is not None and progress.failure is not None and not progress.failure.retryable
            answered = progress is not None and progress.url is not None
            child.crashes = 1 if answered else child.crashes + 1
            if not final and child.crashes < CRASHES_ALLOWED:
                child.restart_at = now + restart_delay(child.crashes)

    def running(self) -> tuple[str, ...]:
        """Return the names of the workloads whose process runs."""
        return tuple(child.run.name for child in self._children.values() if child.popen is not None)

    def stop(self, namespace: str, name: str, killing: Callable[[], bool] = lambda: False) -> None:
        """Stop a workload; `killing` as in `stop_all`. A server is forgotten, but its log stays."""
        run = Run(self._state.run_folder(namespace, name))
        self._stop([run], killing)
        if is_server(run.config()):
            run.forget()

    def stop_all(self, killing: Callable[[], bool] = lambda: False) -> None:
        """Stop every process that this shell started, all at once.

        Each has 10 s to end by itself, training as many as its config says, and none at all once `killing()` says so.
        """
        self._stop(list(self._children), killing)

    def _stop(self, runs: Iterable[Run], killing: Callable[[], bool]) -> None:
        children = [self._children.pop(run) for run in runs if run in self._children]
        alive = [(child, child.popen) for child in children if child.popen is not None]
        for _, popen in alive:
            proc.signal_group(popen.pid, signal.SIGTERM)
        told = time.monotonic()
        while not killing() and any(
            popen.poll() is None and time.monotonic() < told + grace_seconds(child.config) for child, popen in alive
        ):
            time.sleep(POLL_SECONDS)
        for child, popen in alive:
            proc.signal_group(popen.pid, signal.SIGKILL)
            self._ended(child, popen.wait(), stopped=True)

    def _sweep(self, run: Run) -> None:
        proc.kill_carriers(CONFIG_VARIABLE, str(run.config_file.absolute()))


def runtime_command(environment: Mapping[str, str]) -> Sequence[str]:
    """Return the command that starts the runtime. Raises StateError when $TUNESMITH_RUNTIME names no program."""
    given = environment.get(RUNTIME_VARIABLE)
    if not given:
        return [sys.executable, "-m", "tunesmith_runtime"]
    try:
        command = shlex.split(given)
    except ValueError as error:
        raise StateError(f"${RUNTIME_VARIABLE} ({given}) is not a command: {error}") from error
    if not command or shutil.which(command[0]) is None:
        raise StateError(f"${RUNTIME_VARIABLE} ({given}) does not begin with a program of this machine")
    return command


def is_server(config: RunConfig | None) -> bool:
    """Return whether a process runs until it is stopped, and is started again when it ends by itself."""
    return isinstance(config, ServeRun | GatewayRun)


def _given(config: RunConfig) -> dict[str, str]:
    """Return what a process gets of this one's environment: what runs code of others gets no keys."""
    if not (isinstance(config, EvaluateRun) and config.sandboxed):
        return dict(os.environ)
    return {name: value for name, value in os.environ.items() if name in _HARMLESS or name.startswith(_HARMLESS_LIKE)}


def grace_seconds(config: RunConfig) -> float:
    """Return how long a process may take to end: training may have a checkpoint to save."""
    return config.limits.grace_seconds if isinstance(config, TrainRun) else GRACE_SECONDS


def ended_workload(name: str, end: EndRecord, progress: ProgressDocument | None) -> ObservedWorkload:
    """Return what is to be seen of a workload whose process has ended.

    | exit                      | with a result | without     |
    |---------------------------|---------------|-------------|
    | 0                         | Succeeded     | Failed      |
    | stopped by a shell        | Interrupted   | Interrupted |
    | seen by nobody            | Succeeded     | Interrupted |
    | any other code or signal  | Failed        | Failed      |
    """
    result = progress is not None and progress.result is not None
    if result and end.exit_code in {0, None}:
        return ObservedWorkload(name, "Succeeded", "", progress, end.ended_at)
    if end.stopped:
        return ObservedWorkload(name, "Interrupted", "the local shell was stopped", progress, end.ended_at)
    if end.exit_code is None:
        return ObservedWorkload(name, "Interrupted", end.message, progress, end.ended_at)
    return ObservedWorkload(name, "Failed", end.message, progress, end.ended_at)


def restart_delay(crashes: int) -> timedelta:
    """Return the delay before a server starts again after that many crashes in a row: 1 s, doubled, 30 s at most."""
    return min(FIRST_RESTART * (1 << min(max(crashes - 1, 0), 10)), LONGEST_RESTART)


def _version(run: Run) -> tuple[int, int]:
    try:
        seen = run.progress_file.stat()
    except OSError:
        return (0, 0)
    return (seen.st_mtime_ns, seen.st_ino)
