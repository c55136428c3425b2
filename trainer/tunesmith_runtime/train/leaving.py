"""`python -m tunesmith_runtime leave`: a pod whose first process is Ray's is about to end.

Ray ends at once and takes training with it. As the pod's preStop hook this lets training save a checkpoint before.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tunesmith_api.contract import RunConfig, TrainRun
from tunesmith_runtime.train.recovery.pod import PodFiles

POLL_SECONDS = 0.2
# What Ray has left of the pod's grace when training has none.
MARGIN_SECONDS = 3.0


def leave(config: RunConfig) -> int:
    """Tell the driver to end if it is in this pod, or else the training workers; return once they have, or must."""
    if not isinstance(config, TrainRun):
        return 0
    pod, drivers = PodFiles.of(config.run), list(_drivers())
    for driver in drivers:
        with suppress(ProcessLookupError):
            os.kill(driver, signal.SIGTERM)
    if not drivers:
        pod.ask_to_end()
    deadline = time.monotonic() + config.limits.grace_seconds - MARGIN_SECONDS
    while (pod.trains() or any(map(_is_driver, drivers))) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return 0


def _drivers() -> Iterator[int]:
    """Yield the processes of this pod that carry out a run."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _is_driver(int(folder.name)):
            yield int(folder.name)


def _is_driver(pid: int) -> bool:
    try:
        command = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    python = Path(os.fsdecode(command[0])).name.startswith(Path(sys.executable).name[:6])
    return python and command[1:-1] == [b"-m", b"tunesmith_runtime"]
