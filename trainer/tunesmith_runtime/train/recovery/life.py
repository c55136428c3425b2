"""Signs of life: what counts as progress of a run, so that a hang can be told from work that takes its time.

While it trains, a run lives by its steps: an optimizer step, or a micro-batch of one, and a batch of an evaluation or
of a suite. Anything else that happens meanwhile is no sign, above all not the use of a processor: a worker that waits
for a broken collective spins.

What comes before the first step and after the last one, and the saving of a checkpoint between two steps, takes as
long as its data is big, and much of it happens in libraries that report nothing: reading and tokenising datasets,
downloads and uploads, loading and writing weights. There a process lives as long as it, or a process that it has
started, computes, reads or writes. One that does neither waits for something that does not come.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

# So much of either, since the last sign, is one: what a process that only waits never comes to.
CPU_SECONDS = 0.5
BYTES = 1 << 20
_TICKS_PER_SECOND = 100


class Life:
    """The signs of life of a process. `tell` is called with each of them, on whatever thread it comes from."""

    def __init__(self, tell: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._last = clock()
        self._by_steps = False
        self._seen = _work_done()

    @property
    def silence(self) -> float:
        """Seconds since the last sign."""
        return self._clock() - self._last

    def beat(self) -> None:
        """Give a sign."""
        self._last = self._clock()
        self._tell()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within this, unless `go_by` says otherwise, work of any kind is a sign of life."""
        before = self._by_steps
        self.go_by(steps=False)
        try:
            yield
        finally:
            self.go_by(steps=before)

    def go_by(self, *, steps: bool) -> None:
        """Take only steps for signs of life from now on, or work of any kind as at the beginning."""
        self._by_steps = steps
        self._seen = _work_done()
        self.beat()

    def look(self) -> None:
        """Take work since the last sign for a sign, where work counts."""
        if self._by_steps:
            return
        seen = _work_done()
        if seen[0] - self._seen[0] >= CPU_SECONDS or seen[1] - self._seen[1] >= BYTES:
            self._seen = seen
            self.beat()


_current: Life | None = None


def beat() -> None:
    """Give a sign of life, from wherever there is one to give."""
    if _current is not None:
        _current.beat()


def go_by_steps(*, steps: bool) -> None:
    """Take only steps for signs of life from now on, or work of any kind."""
    if _current is not None:
        _current.go_by(steps=steps)


@contextmanager
def working() -> Iterator[None]:
    """Within this, work of any kind is a sign of life."""
    with _current.working() if _current else nullcontext():
        yield


@contextmanager
def living(life: Life) -> Iterator[Life]:
    """Give the signs of life within to `life`."""
    global _current
    before, _current = _current, life
    try:
        yield life
    finally:
        _current = before


def _work_done() -> tuple[float, int]:
    """Return the seconds that this process and its children have computed, and the bytes they have read and written."""
    seconds, size = 0.0, 0
    for process in [Path("/proc/self"), *_children()]:
        with suppress(OSError, ValueError, IndexError):
            user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
            seconds += (int(user) + int(system)) / _TICKS_PER_SECOND
        with suppress(OSError, ValueError):
            counts = dict(line.split(": ") for line in (process / "io").read_text().splitlines())
            size += int(counts["rchar"]) + int(counts["wchar"])
    return seconds, size


def _children() -> list[Path]:
    found: list[Path] = []
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found += [Path("/proc", pid) for pid in task.read_text().split()]
    return found
