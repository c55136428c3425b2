"""Adapters that come and go while the server runs: a file says which ones it should have."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from tunesmith_api.contract import AdapterReport, AdapterSet, RefusedAdapter, ServeRun
from tunesmith_runtime.errors import ConfigError, RunError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.serve.engine.engine import Engine
from tunesmith_runtime.serve.engine.refusals import Refusal
from tunesmith_runtime.serve.following import FollowedFile

# How often the file is looked at, and after how long an adapter is tried again whose storage did not answer.
POLL_SECONDS = 1.0
RETRY_SECONDS = 30.0


def read(path: Path) -> AdapterSet:
    """Return the adapters that a file asks for. Raises ConfigError."""
    try:
        return AdapterSet.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"the adapters cannot be read from {path}: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is no list of adapters: {error.errors(include_url=False)[0]['msg']}") from error


def without_those_gone(config: ServeRun, path: Path) -> ServeRun:
    """Return a run whose own adapters are only those that are still asked for. Raises ConfigError."""
    wanted = set(read(path).adapters)
    return config.model_copy(update={"adapters": tuple(each for each in config.adapters if each in wanted)})


class Adapting:
    """Brings a running engine the adapters that a file asks for, takes others away, and reports what it has.

    One that cannot be loaded hinders no other; it is tried again when the file changes, and before that where its
    storage was at fault.
    """

    def __init__(self, engine: Engine, path: Path, reporter: ProgressReporter) -> None:
        self._engine = engine
        self._path = path
        self._reporter = reporter
        self._wanted = read(path)
        self._refused: dict[str, str] = {}
        self._retry_at: float | None = None
        self._reported: AdapterReport | None = None

    def start(self, announce: Callable[[], None]) -> None:
        """Follow the file on a thread; `announce` is called when all that it asks for at first has been tried."""
        threading.Thread(target=self._follow, args=(announce,), name="adapters", daemon=True).start()

    def _follow(self, announce: Callable[[], None]) -> None:
        file = FollowedFile(self._path, self._take)
        try:
            self.settle()
            announce()
            while True:
                time.sleep(POLL_SECONDS)
                before = self._wanted
                file.look()
                due = self._retry_at is not None and time.monotonic() >= self._retry_at
                if due or self._wanted != before:
                    self.settle()
        except Refusal:
            return  # the server is about to end, and takes nothing more

    def _take(self, _: bytes) -> None:
        try:
            self._wanted = read(self._path)
        except ConfigError as error:
            self._say(f"{error.message}; going on with the adapters that are there")

    def settle(self) -> None:
        """Load and unload what differs, and report. Raises Refusal once the server is about to end."""
        wanted = {each.name: each.uri for each in self._wanted.adapters}
        self._refused, self._retry_at = {}, None
        for name, uri in self._engine.adapters.items():
            if wanted.get(name) != uri:
                self._engine.unload_adapter(name)
                self._say(f"adapter {name} is unloaded")
        for name, uri in wanted.items():
            if name not in self._engine.adapters:
                self._load(name, uri)
        refused = tuple(RefusedAdapter(name=name, message=why[:1024]) for name, why in self._refused.items())
        report = AdapterReport(generation=self._wanted.generation, loaded=tuple(self._engine.adapters), refused=refused)
        if report != self._reported:
            self._reporter.update(adapters=report)
            self._reported = report

    def _load(self, name: str, uri: str) -> None:
        try:
            self._engine.load_adapter(name, uri)
        except RunError as error:
            self._refused[name] = error.message
            self._say(f"adapter {name} cannot be loaded: {error.message}")
            if error.retryable:
                self._retry_at = time.monotonic() + RETRY_SECONDS
        else:
            self._say(f"adapter {name} is loaded")

    def _say(self, sentence: str) -> None:
        print(sentence, flush=True)  # noqa: T201 - the run's log
