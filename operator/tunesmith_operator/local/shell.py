"""The reconcile loop of the local shell: observe, plan, apply, until nothing moves any more."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from types import FrameType, TracebackType
from typing import Any

from tunesmith_api import conditions as c
from tunesmith_api.evaljob import RUN_OF_LABEL
from tunesmith_api.meta import Reference
from tunesmith_api.resources import KINDS, EvalJob, FineTuneJob, ModelServe, Resource, reference
from tunesmith_operator.local import tables
from tunesmith_operator.local.activity import Activity, activity
from tunesmith_operator.local.display import Display
from tunesmith_operator.local.processes import Processes
from tunesmith_operator.local.state import State
from tunesmith_operator.planner import Observed, plan
from tunesmith_operator.planner.references import named_by
from tunesmith_operator.planner.situation import is_true

TICK_SECONDS = 0.25
INTERRUPTED = 130
# The base URL of the first server that is ready, without /v1, for the command given with --then.
URL_VARIABLE = "TUNESMITH_URL"

_OVER = {"Succeeded", "Failed"}

# A resource of any namespace.
Key = tuple[str, Reference]


class Interruptions(AbstractContextManager["Interruptions"]):
    """Counts SIGINT, SIGTERM and SIGHUP instead of dying of them."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruptions":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._counted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _counted(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


@dataclass(frozen=True)
class Look:
    """What one pass over the resources found."""

    moved: bool
    busy: bool
    requeue_at: datetime | None


@dataclass(frozen=True)
class Afterwards:
    """What follows when a server is ready: stop, run a command and stop, or stay until Ctrl-C."""

    until_ready: bool = False
    then: str | None = None


class Shell:
    """Brings the selected resources of a state directory to their goals."""

    def __init__(
        self,
        state: State,
        processes: Processes,
        display: Display,
        selected: Sequence[Key],
        clock: Callable[[], datetime],
        interruptions: Interruptions,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`clock` gives the time, with a time zone; `wait` lets so many seconds pass between two looks."""
        self._state = state
        self._processes = processes
        self._display = display
        self._clock = clock
        self._interruptions = interruptions
        self._wait = wait
        self._resources: dict[Key, Resource] = {key_of(resource): resource for resource in state.resources()}
        self._selected = closure(selected, self._resources)
        self._activities: list[Activity] = []
        self._told = 0

    def resources(self) -> tuple[Resource, ...]:
        """Return the selected resources as they are now, by kind and name."""
        order = list(KINDS)
        chosen = (self._resources[key] for key in self._selected)
        return tuple(sorted(chosen, key=lambda item: (order.index(item.kind), item.metadata.name)))

    def run(self, afterwards: Afterwards) -> int:
        """Work until everything is settled, then do what `afterwards` says; return the exit code.

        0: every FineTuneJob has succeeded, every EvalJob has passed, every ModelServe is ready. 1: not so.
        130: interrupted. No process is left in any case.
        """
        try:
            return self._run(afterwards)
        finally:
            self._display.close()
            self._stop()

    def _run(self, afterwards: Afterwards) -> int:
        if not self._settle():
            return INTERRUPTED
        self._display.close()
        self._display.say("\n" + tables.summary(self.resources(), self._state.volumes))
        # A run of an EvalJob that repeats speaks through that one.
        asked = (each for each in self.resources() if RUN_OF_LABEL not in each.metadata.labels)
        code = 0 if all(map(has_reached_its_goal, asked)) else 1
        servers = self._ready_servers()
        for server in servers:
            self._display.say("\n" + tables.how_to_try(server))
        if afterwards.then is not None and not servers:
            self._display.say(f"\nno server is ready, so the command was not run: {afterwards.then}")
            return 1
        if not servers or afterwards.until_ready:
            return code
        if afterwards.then is not None:
            return self._run_command(afterwards.then, servers[0].status.url or "") or code
        self._display.say("\nserving until Ctrl-C")
        return code if self._serve() else 1

    def _ready_servers(self) -> list[ModelServe]:
        return [item for item in self.resources() if isinstance(item, ModelServe) and item.status.phase == "Ready"]

    def _settle(self) -> bool:
        """Work until nothing moves any more. Returns False when interrupted before."""
        while not self._interruptions.count:
            look = self._look()
            if look.moved:
                continue
            if not look.busy and look.requeue_at is None:
                return True
            self._wait_for_change(look.requeue_at)
        return False

    def _serve(self) -> bool:
        """Keep the servers up until interrupted. Returns False when the last one is gone for good."""
        while not self._interruptions.count:
            look = self._look()
            if not look.moved:
                if not look.busy and look.requeue_at is None and not self._ready_servers():
                    return False
                self._wait_for_change(look.requeue_at)
        return True

    def _run_command(self, command: str, url: str) -> int:
        self._display.say("")
        running = subprocess.Popen(command, shell=True, env={**os.environ, URL_VARIABLE: url})  # noqa: S602 - it asks to
        while (code := running.poll()) is None:
            if self._interruptions.count:
                running.terminate()
                running.wait()
                return INTERRUPTED
            if self._processes.poll():
                self._look()
            self._wait(TICK_SECONDS)
        return code if code >= 0 else 128 - code

    def _look(self) -> Look:
        """Observe, plan and apply once for each selected resource."""
        self._told = self._state.last_told()
        moved = busy = False
        requeues: list[datetime] = []
        self._activities = []
        for key in self._selected:  # those that are added in between come the next time
            if key not in self._resources:
                continue
            resource = self._resources[key]
            observed = self._observe(resource)
            now = self._clock()
            told = self._state.told(resource) if isinstance(resource, ModelServe) else resource
            decision = plan(told, observed, now)
            # Names are in the status before anything goes by them.
            if decision.status != resource.status:
                self._write(resource, decision.status)
                moved = True
            for event in decision.events:
                self._display.event(key[1], event)
            for name in decision.stop:
                if name in self._processes.running():
                    self._display.say(f"stopping {name}")
                self._processes.stop(key[0], name, lambda: self._interruptions.count > 0)
                moved = True
            for child in decision.create:
                self._add(child, now)
                moved = True
            for name in decision.retire:
                self._retire(key[0], name)
            for workload in decision.ensure:
                moved |= self._processes.ensure(workload)
            # What has ended is kept here, whatever its ttlSecondsAfterFinished.
            if decision.requeue_after is not None and decision.status.phase not in _OVER:
                requeues.append(now + decision.requeue_after)
            for workload_seen in observed.workloads.values():
                if doing := activity(resource, workload_seen):
                    self._activities.append(doing)
                    busy = True
        return Look(moved, busy, min(requeues, default=None))

    def _observe(self, resource: Resource) -> Observed:
        namespace = resource.metadata.namespace
        neighbours = {key[1]: other for key, other in self._resources.items() if key[0] == namespace}
        return Observed(workloads=self._processes.observed(resource), resources=neighbours)

    def _add(self, child: Resource, now: datetime) -> None:
        """Take up a resource that another one asks for."""
        key = key_of(child)
        self._state.apply([child], now)
        found = self._state.find(child.kind, child.metadata.namespace, child.metadata.name)
        assert found is not None  # noqa: S101 - it has just been written
        self._resources[key] = found
        self._selected = (*self._selected, key)

    def _retire(self, namespace: str, name: str) -> None:
        """Forget an EvalJob that another one has done with; its runs' logs stay."""
        self._state.remove("EvalJob", namespace, name)
        gone = (namespace, Reference(kind="EvalJob", name=name))
        self._resources.pop(gone, None)
        self._selected = tuple(key for key in self._selected if key != gone)

    def _write(self, resource: Resource, status: Any) -> None:
        updated = resource.model_copy(update={"status": status})
        self._state.write(updated)
        self._resources[key_of(updated)] = updated

    def _wait_for_change(self, requeue_at: datetime | None) -> None:
        while not self._interruptions.count and not self._processes.poll():
            if requeue_at is not None and self._clock() >= requeue_at:
                return
            if self._state.last_told() != self._told:
                return
            self._display.activities(self._activities)
            self._wait(TICK_SECONDS)

    def _stop(self) -> None:
        told = self._interruptions.count  # before anybody reads that it stops, and interrupts again
        running = self._processes.running()
        if running:
            self._display.say(f"stopping {', '.join(running)}")
        self._processes.stop_all(killing=lambda: self._interruptions.count > max(told, 1))
        for key in self._selected:
            resource = self._resources[key]
            if isinstance(resource, ModelServe):  # it is not ready any more
                status = plan(resource, self._observe(resource), self._clock()).status
                if status != resource.status:
                    self._write(resource, status)
        if told:
            self._display.say("stopped; run the same command to go on")


def key_of(resource: Resource) -> Key:
    """Return the key of a resource."""
    return resource.metadata.namespace, reference(resource)


def closure(given: Iterable[Key], resources: Mapping[Key, Resource]) -> tuple[Key, ...]:
    """Return the given resources and all that they refer to, as far as those exist, each before what refers to it."""
    found: dict[Key, None] = {}
    visiting: set[Key] = set()

    def visit(key: Key) -> None:
        resource = resources.get(key)
        if resource is None or key in visiting:
            return
        visiting.add(key)
        for named in named_by(resource):
            visit((key[0], named))
        found[key] = None

    for key in given:
        visit(key)
    return tuple(found)


def has_reached_its_goal(resource: Resource) -> bool:
    """Return whether a FineTuneJob has succeeded, an EvalJob has passed, a ModelServe serves what its spec says."""
    match resource:
        case FineTuneJob(status=status):
            return status.phase == "Succeeded"
        case EvalJob(status=status):
            return status.verdict == "Passed"
        case ModelServe(status=status):
            behind = is_true(status.conditions, c.RECONCILING) or is_true(status.conditions, c.STALLED)
            return status.phase == "Ready" and not behind


def port_problems(resources: Iterable[Resource]) -> list[str]:
    """Return a sentence for each ModelServe whose port on 127.0.0.1 it cannot have."""
    problems: list[str] = []
    owners: dict[int, str] = {}
    for resource in resources:
        if not isinstance(resource, ModelServe):
            continue
        name, port = resource.metadata.name, resource.spec.port
        if port in owners:
            problems.append(f"ModelServe {owners[port]} and ModelServe {name} both ask for port {port}; change one")
        elif not _is_free(port):
            problems.append(f"port {port} of ModelServe {name} is taken by another program; stop it or set spec.port")
        owners.setdefault(port, name)
    return problems


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
