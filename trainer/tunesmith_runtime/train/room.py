"""Whether a machine has room to measure checkpoints while it trains."""

import os
from pathlib import Path

import torch

from tunesmith_runtime import process
from tunesmith_runtime.train.environment import SPARE_GPU_VARIABLE

# CPUs of the machine for each of its workers from which one more process is no hindrance.
CPUS_FOR_EACH_WORKER = 4
# What a process that measures needs besides the model: its libraries, and the model's activations.
PROCESS_BYTES = 2 * 2**30


def has_room(weight_bytes: int, *, workers: int) -> bool:
    """Return whether a model of so many bytes fits beside the training of this machine's workers."""
    if torch.cuda.is_available():
        return spare_gpu() is not None
    return process.cpus() >= CPUS_FOR_EACH_WORKER * workers and memory_left() >= weight_bytes + PROCESS_BYTES


def spare_gpu() -> str | None:
    """Return the GPU that no worker uses, as CUDA_VISIBLE_DEVICES names it, or None."""
    return os.environ.get(SPARE_GPU_VARIABLE) or None


def memory_left(cgroups: Path = Path("/sys/fs/cgroup"), machine: Path = Path("/proc/meminfo")) -> int:
    """Return how many bytes this process and others it starts may still take: the container's rest or the machine's."""
    left = [_available(machine)]
    for folder, limit, usage, cache in (
        (cgroups, "memory.max", "memory.current", "inactive_file"),
        (cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            allowed = int((folder / limit).read_text())
            used = int((folder / usage).read_text()) - _entry(folder / "memory.stat", cache)
        except (OSError, ValueError):  # not this version, or "max"
            continue
        left.append(allowed - used)
    return max(0, min(left))


def _available(machine: Path) -> int:
    return 1024 * _entry(machine, "MemAvailable:")


def _entry(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    return 0
