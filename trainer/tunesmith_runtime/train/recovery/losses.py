"""What was lost when training on several workers broke off, and why, as far as it can be known from here."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import ray

from tunesmith_api import conditions
from tunesmith_api.contract import RunIdentity
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.train.cluster import NODE_ID, Cluster, Node
from tunesmith_runtime.train.failures import WorkerLostError, WorkerMemoryError
from tunesmith_runtime.train.recovery.attempt import PodEndingError
from tunesmith_runtime.train.recovery.traces import Traces, traces

# How long a pod may take to say what has died in it.
ASK_SECONDS = 5.0
_NAMED = 3


@dataclass(frozen=True)
class Loss:
    """What was lost: pods by name, why by a reason of `conditions` and a sentence.

    `gone` are the nodes of Ray's that must not be used any more, even if Ray has not noticed yet.
    """

    worker: str
    reason: str
    message: str
    gone: frozenset[str] = frozenset()


class Witnesses:
    """Asks pods for the traces of what has died there, and knows what they have said before."""

    def __init__(self, run: RunIdentity) -> None:
        self._run = run.model_dump_json(by_alias=True)
        self._kills: dict[str, int] = {}

    def ask(self, nodes: Sequence[Node]) -> dict[Node, Traces]:
        """Return what is new in each pod that answers; `kills` are those since it was asked last, or since it began."""
        look = ray.remote(num_cpus=0, max_retries=0)(traces)
        asked = {node: look.options(label_selector={NODE_ID: node.id}).remote(self._run) for node in nodes}
        found: dict[Node, Traces] = {}
        for node, answer in asked.items():
            with suppress(Exception):  # who does not answer cannot be asked: the loss itself is told anyway
                told: Traces = ray.get(answer, timeout=ASK_SECONDS)
                found[node] = Traces(told.kills - self._kills.get(node.id, 0), told.crashes)
                self._kills[node.id] = told.kills
        return found


def find(error: RunError, cluster: Cluster, witnesses: Witnesses) -> Loss | None:
    """Return what was lost by an error that ended the training, or None when it is no loss."""
    if isinstance(error, PodEndingError):
        return Loss(", ".join(error.pods), error.reason, error.message, error.nodes)
    if not isinstance(error, WorkerLostError):
        return None
    if isinstance(error, WorkerMemoryError):
        return Loss(_names([cluster.node_of(rank) for rank in error.ranks[:1]]), error.reason, error.message)
    silent = tuple(node for node in cluster.nodes if not node.answers())
    if silent:
        return Loss(
            _names(silent),
            conditions.WORKER_LOST,
            f"{_names(silent)} does not answer any more: its pod was killed, or the node that it ran on is gone",
            frozenset(node.id for node in silent),
        )
    dead = tuple(dict.fromkeys(cluster.node_of(rank) for rank in error.ranks)) or cluster.nodes
    for node, found in witnesses.ask(dead).items():
        if found.kills > 0:
            return Loss(
                node.name,
                conditions.OUT_OF_MEMORY,
                f"the kernel has ended the training worker of {node.name} because its memory was used up; give the "
                "pods more, or use a smaller batch or maxLength",
            )
        if found.crashes:
            crash = found.crashes[-1]
            print(crash, flush=True)  # noqa: T201 - the run's log
            return Loss(node.name, error.reason, f"the training worker of {node.name} crashed: {_first_line(crash)}")
    if not error.ranks:
        return Loss("a worker", error.reason, error.message)
    return Loss(
        _names(dead),
        error.reason,
        f"the process of the training worker of {_names(dead)} is gone and has left no trace, as after SIGKILL; Ray "
        f"says: {error.message}",
    )


def _first_line(crash: str) -> str:
    """Return what faulthandler calls a fatal signal: Segmentation fault, Aborted."""
    return crash.partition("\n")[0].removeprefix("Fatal Python error: ")


def _names(nodes: Sequence[Node]) -> str:
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return ", ".join(node.name for node in nodes[:_NAMED]) + more
