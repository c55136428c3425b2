"""What a pod knows of its processes that have died. Asked for in a process of its own, so it imports little."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tunesmith_api.contract import RunIdentity
from tunesmith_runtime.train.recovery.pod import PodFiles


@dataclass(frozen=True)
class Traces:
    """What a pod knows of its processes that have died: how many the kernel has killed for memory, and last stacks."""

    kills: int = 0
    crashes: tuple[str, ...] = ()


def traces(run: str, cgroups: Path = Path("/sys/fs/cgroup")) -> Traces:
    """Return the traces in this pod; each last stack is told once."""
    return Traces(kernel_kills(cgroups), PodFiles.of(RunIdentity.model_validate_json(run)).take_crashes())


def kernel_kills(cgroups: Path) -> int:
    """Return how many processes of this container the kernel has killed for memory, by version 2 or 1 of cgroups."""
    for name in ("memory.events", "memory/memory.oom_control"):
        with suppress(OSError):
            for line in (cgroups / name).read_text().splitlines():
                word, _, number = line.partition(" ")
                if word == "oom_kill":
                    return int(number)
    return 0
