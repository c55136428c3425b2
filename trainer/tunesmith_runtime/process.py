"""What the process of a run needs and owes: a user with a name, an end on SIGTERM, its last words."""

import math
import os
import pwd
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tunesmith_api.contract import TERMINATION_LOG_VARIABLE

# Kubernetes keeps 4 KiB of a termination message.
TERMINATION_LOG_CHARACTERS = 4000
TERMINATED = 128 + signal.SIGTERM
# How long the process may take to end by itself after SIGTERM.
GRACE_SECONDS = 4.0
# What is left of a grace when the process ends at the latest: SIGKILL comes by somebody else's clock.
MARGIN_SECONDS = 1.0


@dataclass(frozen=True)
class _Postponement:
    """Work that SIGTERM is told to, and may be finished: `ask` says whether there is any, `seconds` how long it has."""

    ask: Callable[[], bool]
    seconds: float


_sigterm = threading.Event()
_postponement: _Postponement | None = None
_last_actions: list[Callable[[], None]] = []


def run(main: Callable[[], int]) -> NoReturn:
    """Run `main` as this process's program and exit with its code, or with 143 when SIGTERM ends it."""
    name_user()
    _watch_for_sigterm()
    end_on_sigterm()
    try:
        code = main()
    except SystemExit:  # libraries replace its code by their own
        if not is_ending():
            raise
    sys.exit(TERMINATED if is_ending() else code)


def is_ending() -> bool:
    """Return whether SIGTERM has told this process to end."""
    return _sigterm.is_set()


def name_user() -> None:
    """Name this process's user in the environment when the machine does not know it.

    Containers run as users without an entry in /etc/passwd; libraries ask for the name to find folders of their own.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", "tunesmith")
        os.environ.setdefault("LOGNAME", os.environ["USER"])


def end_on_sigterm() -> None:
    """End with exit code 143 on SIGTERM, after what the code is in the middle of has cleaned up.

    The first process of a container ignores SIGTERM unless it has a handler. Ray replaces it: call this again after
    `ray.init()`.
    """
    signal.signal(signal.SIGTERM, _end)


@contextmanager
def finishing(ask: Callable[[], bool], grace: float) -> Iterator[None]:
    """Let the code within finish what it is in the middle of when SIGTERM comes.

    `ask` tells it to, and returns whether there is anything to wait for; else the process ends at once. It also does
    on a second SIGTERM, and so that the process is gone before the `grace` seconds are over. When SIGTERM has come, the
    process ends on leaving the context, unless an error does.
    """
    global _postponement
    _postponement = _Postponement(ask, max(0.0, grace - GRACE_SECONDS - MARGIN_SECONDS))
    try:
        yield
    finally:
        _postponement = None
    if is_ending():
        _exit()


def _end(number: int, frame: FrameType | None) -> None:
    first = not is_ending()
    _sigterm.set()
    if first and _postponement is not None and _postponement.seconds > 0 and _postponement.ask():
        return
    _exit()


def _exit() -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(TERMINATED)


def _watch_for_sigterm() -> None:
    """End the process for good when it has not ended soon after SIGTERM.

    A handler waits until the main thread is back from native code, and cleaning up may wait for who knows what; the
    bytes of the wake-up descriptor wait for nothing.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def watch() -> None:
        while os.read(reading, 1) != bytes([signal.SIGTERM]):
            pass
        if (postponement := _postponement) is not None:
            again, _, _ = select.select([reading], [], [], postponement.seconds)
            if not again:
                os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(TERMINATED)

    threading.Thread(target=watch, name="sigterm", daemon=True).start()


def before_end(action: Callable[[], None]) -> None:
    """Have `end_now` do something before."""
    _last_actions.append(action)


def end_now(code: int) -> NoReturn:
    """End the process with what is left to be said, whatever its main thread is in the middle of."""
    try:
        for action in _last_actions:
            action()
    finally:
        os._exit(code)


def leave_last_words(message: str) -> None:
    """Write the sentence of a failure to the file that $TUNESMITH_TERMINATION_LOG names, if any."""
    path = os.environ.get(TERMINATION_LOG_VARIABLE)
    if not path:
        return
    try:
        Path(path).write_text(message[:TERMINATION_LOG_CHARACTERS], encoding="utf-8")
    except OSError as error:
        print(f"{path} cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201 - the run's log


def cpus(cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many CPUs this process may keep busy: those it may run on, or fewer by its container's limit."""
    allowed = len(os.sched_getaffinity(0))
    limit = _cpu_limit(cgroups)
    return allowed if limit is None else max(1, min(allowed, math.ceil(limit)))


def _cpu_limit(cgroups: Path) -> float | None:
    """Return the limit of the container that `cgroups` shows, version 2 or 1."""
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = _words([cgroups / name for name in names])
            if float(quota) > 0:
                return float(quota) / float(period)
        except (OSError, ValueError):  # not this version, or "max"
            continue
    return None


def _words(files: Sequence[Path]) -> list[str]:
    return [word for file in files for word in file.read_text().split()]
