"""The Ray cluster of a run: of its pods when $TUNESMITH_RAY_ADDRESS says where they meet, else of this machine.

With $TUNESMITH_RAY_JOIN somebody else has started it, and this process is in the pod of its head.
Import it after `environment.prepare()`: Ray reads its settings once, when it is imported.
"""

import os
import sys
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import ray

from tunesmith_api.contract import RAY_JOIN_VARIABLE, WORKERS_PREFIX_VARIABLE, WORKERS_TIMEOUT_VARIABLE, TrainRun
from tunesmith_api.placement import OBJECT_STORE_BYTES, devices
from tunesmith_runtime import process
from tunesmith_runtime.errors import ConfigError, RunError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import environment
from tunesmith_runtime.train.address import HeadAddress, answers, pod_ip
from tunesmith_runtime.train.recovery import regrouping
from tunesmith_runtime.train.recovery.life import beat

# On a busy machine Ray's processes can miss each other while they start.
STARTS = 3
POLL_SECONDS = 1.0
DEFAULT_WORKERS_TIMEOUT = 900.0
# A sentence names at most this many missing pods.
NAMED = 3
NODE_ID = "ray.io/node-id"
# How long a node's raylet may take to accept a connection; one whose pod is gone never does.
CONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Node:
    """A node of Ray's: a pod of the run, by the name that it goes by, and where its raylet listens."""

    id: str
    name: str
    host: str
    port: int

    def answers(self) -> bool:
        """Return whether somebody listens there. Ray itself notices much later that nobody does."""
        return answers(self.host, self.port, CONNECT_SECONDS)


@dataclass(frozen=True)
class Cluster:
    """A running Ray cluster with room for every training worker.

    `nodes` are the pods, that of the driver first; a cluster that is all on one machine has a single node. The workers
    of a node have consecutive ranks.
    """

    nodes: tuple[Node, ...]
    workers: int
    per_pod: int
    pods: bool

    def joined(self, gone: Set[str]) -> int:
        """Return how many pods of the run are there, those without work among them; `gone` ones do not count."""
        return len(_nodes(gone))

    def of(self, nodes: tuple[Node, ...]) -> "Cluster":
        """Return the cluster with workers on these pods."""
        return replace(self, nodes=nodes, workers=len(nodes) * self.per_pod)

    def label_selector(self) -> list[dict[str, str]] | None:
        """Return for each training worker the node that it must run on.

        Ray Train numbers workers in this order, so rank 0 is in the driver's pod, where the log and the progress are.
        """
        if not self.pods:
            return None
        return [{NODE_ID: node.id} for node in self.nodes for _ in range(self.per_pod)][: self.workers]

    def dead(self) -> str | None:
        """Return a sentence when a process of the head has ended that this one has started."""
        head = ray._private.worker._global_node
        for kind, ended in head.dead_processes() if head is not None else []:
            return f"Ray's {kind} on the driver's pod is gone: it ended with code {ended.returncode}"
        return None

    def node_of(self, rank: int) -> Node:
        """Return the node that the worker of a rank runs on."""
        return self.nodes[min(rank // self.per_pod, len(self.nodes) - 1)] if self.pods else self.nodes[0]


@contextmanager
def cluster(config: TrainRun, reporter: ProgressReporter) -> Iterator[Cluster]:
    """Run a Ray cluster with all of the run's workers; end it afterwards. Raises RunError when one is missing."""
    address = HeadAddress.from_environment()
    try:
        if _joins():
            _start(address="auto", runtime_env={"env_vars": environment.of_workers()})
        elif address is None:
            _start(num_cpus=config.workers * devices(config), include_dashboard=False)
        else:
            _start(
                include_dashboard=False,
                num_cpus=devices(config),
                num_gpus=config.gpus,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address=pod_ip(),
                _gcs_port=address.port,
            )
        pods = address is not None or _joins()
        nodes = wait_for_workers(config, reporter) if pods else _nodes(frozenset())[:1]
        workers = len(nodes) if pods else config.workers
        yield Cluster(nodes, workers * devices(config), per_pod=devices(config), pods=pods)
    finally:
        if ray.is_initialized():
            ray.shutdown()


def wait_for_workers(
    config: TrainRun, reporter: ProgressReporter, gone: Set[str] = frozenset(), patience: float | None = None
) -> tuple[Node, ...]:
    """Return the driver's node and those of all worker pods, in the order of their names, once every one has joined.

    Of an elastic run, as many as can train together are enough after `patience` seconds ($TUNESMITH_ELASTIC_SECONDS).
    Nodes that are `gone`, by Ray's id, do not count, and neither do those that do not answer. The progress says which
    ones are missing. Raises RunError when some still are after $TUNESMITH_WORKERS_TIMEOUT.
    """
    seconds = _timeout()
    patience = regrouping.patience() if patience is None else patience
    began = time.monotonic()
    told = ""
    while missing := _missing(config, found := _nodes(gone)):
        beat()
        waited = time.monotonic() - began
        if waited >= patience and (enough := regrouping.fitting(config, len(found))):
            print(f"{missing}: going on with {enough} of {config.workers}", flush=True)  # noqa: T201 - the run's log
            return found[:enough]
        told_now = f"waiting for workers: {missing}"
        if told_now != told:
            told = told_now
            reporter.update(stage=told)
            print(told, flush=True)  # noqa: T201 - the run's log
        if waited > seconds:
            raise RunError(
                f"not all workers joined the run within {seconds:.0f} s: {missing}; look at their "
                f"pods, or set ${WORKERS_TIMEOUT_VARIABLE}"
            )
        time.sleep(POLL_SECONDS)
    return found[: config.workers]


def _nodes(gone: Set[str]) -> tuple[Node, ...]:
    """Return the nodes that answer, the driver's first."""
    found = [
        Node(node["NodeID"], node["NodeName"], node["NodeManagerAddress"], node["NodeManagerPort"])
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in gone
    ]
    head = ray.get_runtime_context().get_node_id()
    there = {node.name: node for node in found if node.id == head or node.answers()}
    return tuple(sorted(there.values(), key=lambda node: (node.id != head, _by_number(node.name))))


def _by_number(name: str) -> tuple[str, int]:
    start, _, number = name.rpartition("-")
    return (start, int(number)) if number.isdigit() else (name, 0)


def _missing(config: TrainRun, nodes: tuple[Node, ...]) -> str | None:
    """Return which worker pods have not joined, or None when all have."""
    there = {node.name for node in nodes}
    if _joins():  # whoever starts the pods has names of its own for them
        lacking = config.workers - len(there)
        are = "is" if lacking == 1 else "are"
        return f"{lacking} of {config.workers - 1} {are} missing" if lacking > 0 else None
    prefix = os.environ.get(WORKERS_PREFIX_VARIABLE) or f"{config.run.name}-a{config.run.attempt}-workers-"
    expected = [f"{prefix}{number}" for number in range(config.workers - 1)]
    missing = [name for name in expected if name not in there]
    return _listed(missing) if missing else None


def _joins() -> bool:
    """Return whether this process is part of a cluster that somebody else has started."""
    return bool(os.environ.get(RAY_JOIN_VARIABLE))


def _listed(missing: list[str]) -> str:
    named = ", ".join(missing[:NAMED])
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"{named}{more} {'is' if len(missing) == 1 else 'are'} missing"


def _timeout() -> float:
    given = os.environ.get(WORKERS_TIMEOUT_VARIABLE)
    if not given:
        return DEFAULT_WORKERS_TIMEOUT
    try:
        return float(given)
    except ValueError as error:
        raise ConfigError(f"${WORKERS_TIMEOUT_VARIABLE} is a number of seconds, not {given}") from error


def _start(*, address: str = "local", _gcs_port: int | None = None, **settings: Any) -> None:
    if _gcs_port is not None:
        os.environ["RAY_GCS_SERVER_PORT"] = str(_gcs_port)
    for start in range(1, STARTS + 1):
        try:
            ray.init(
                address=address,
                logging_config=ray.LoggingConfig(log_level="ERROR"),
                **settings,
            )
        except Exception as error:
            ray.shutdown()
            if start == STARTS:
                raise RunError(f"Ray did not start: {error}") from error
            print(f"Ray did not start, trying again: {error}", file=sys.stderr, flush=True)  # noqa: T201
        else:
            break
    process.end_on_sigterm()  # Ray has put its own handler in place
