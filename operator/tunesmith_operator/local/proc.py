"""Processes as Linux shows them: who is alive, who belongs to a run, and how to end them."""

import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Loaded here because between fork and exec only the call itself is safe.
_LIBC = ctypes.CDLL(None, use_errno=True)


def dies_with_parent() -> Callable[[], None]:
    """Return what a child calls before exec, so that the kernel kills it when the calling thread ends."""
    parent = os.getpid()

    def before_exec() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before the call above
            os._exit(1)

    return before_exec


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None when it is gone or a zombie.

    With the pid it names a process for good, while a pid alone may be given to another.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to the process group that `pid` leads, if it is still there."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def kill_carriers(variable: str, value: str) -> None:
    """Kill every process that has `variable=value` in its environment.

    So a run's helpers end with it, also those that left its process group.
    """
    entry = f"{variable}={value}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            pid = int(folder.name)
            if pid != os.getpid() and entry in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)


def described_exit(code: int) -> str:
    """Return an exit code (negative for a signal, as `subprocess` gives it) in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = "; the machine may be out of memory" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}"
