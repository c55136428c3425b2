"""How each worker of a run does, and which ones the others wait for."""

import os
import resource
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch

from tunesmith_api.finetunejob import Straggler, WorkerProgress
from tunesmith_runtime.train.counting import Counts

# A straggler takes this many times as long as the median, and holds a step up by more than this share of it: among
# workers that have next to nothing to do by themselves, one that does twice as much harms nobody.
FACTOR = 1.5
SHARE = 0.05
# Steps that a worker must have done before it is judged: single batches differ.
STEPS = 5
NODES = 64
SHOWN = 8


@dataclass(frozen=True)
class WorkerReport:
    """What a worker says of its last `steps` steps, which took `seconds`.

    `own_seconds` are those of a step in which it waited for nobody, as far as that can be told. `flops` is what the
    model needed in `busy_seconds`, those of neither checkpoints nor evaluations; `peak` what the device could do in
    one second. `streams` holds the sum of losses and the number of tokens of each dataset by its number.
    """

    name: str
    steps: int
    seconds: float
    own_seconds: float
    counts: Counts
    memory_bytes: int
    busy_seconds: float = 0.0
    flops: float = 0.0
    peak: float | None = None
    streams: Mapping[int, tuple[float, int]] = field(default_factory=dict)
    # From rank 0 to all: the step at which they gather again.
    next_gather: int = 0


def nodes(reports: Sequence[WorkerReport]) -> tuple[WorkerProgress, ...]:
    """Return what status says of each worker, in the order of the workers; of very many, of the slowest."""
    kept = sorted(range(len(reports)), key=lambda number: -reports[number].own_seconds)[:NODES]
    return tuple(
        WorkerProgress(
            name=report.name,
            tokens_per_second=round(report.counts.real / report.seconds, 1) if report.seconds else 0.0,
            step_seconds=round(report.own_seconds, 4),
            memory_bytes=report.memory_bytes,
        )
        for report in (reports[number] for number in sorted(kept))
    )


def stragglers(reports: Sequence[WorkerReport]) -> tuple[Straggler, ...]:
    """Return the workers that hold the others up, slowest first."""
    judged = [report for report in reports if report.steps >= STEPS]
    if len(judged) < 2:
        return ()
    # The lower one of two in the middle, so that one of two workers can be the slow one.
    usual = _middle([report.own_seconds for report in judged])
    step = median(report.seconds / report.steps for report in judged)
    slow = [
        report
        for report in judged
        if usual > 0 and report.own_seconds >= FACTOR * usual and report.own_seconds - usual >= SHARE * step
    ]
    slow.sort(key=lambda report: -report.own_seconds)
    return tuple(Straggler(name=report.name, factor=round(report.own_seconds / usual, 2)) for report in slow[:SHOWN])


def worker_name() -> str:
    """Return the pod, or the machine, of this process; with the number of its GPU when there are several."""
    pod = os.environ.get("POD_NAME") or os.environ.get("HOSTNAME") or socket.gethostname()
    several = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1
    return f"{pod}/{os.environ.get('LOCAL_RANK', '0')}" if several else pod


def peak_memory() -> int:
    """Return the most bytes that this worker has had: of its GPU, or of its process when there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]
