"""The work queue: each key at most once in it and at most once in work, with delays and with backoff after errors.

The semantics are those of the queue of Kubernetes' own controllers: a key that is added while it is worked on is worked
on once more afterwards, and no key is ever worked on by two at a time.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from tunesmith_operator.controller import metrics

KeyT = TypeVar("KeyT", bound=Hashable)

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 60.0


class WorkQueue(Generic[KeyT]):
    """Keys that wait for work. For one event loop; `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._jitter = jitter
        self._waiting: deque[KeyT] = deque()
        self._added: dict[KeyT, float] = {}
        self._working: dict[KeyT, float] = {}
        self._again: set[KeyT] = set()
        self._failures: dict[KeyT, int] = {}
        self._delayed: dict[KeyT, tuple[float, asyncio.TimerHandle]] = {}
        self._wake = asyncio.Event()
        self._finished_last = clock()

    def __len__(self) -> int:
        """Return how many keys wait, delayed ones not among them."""
        return len(self._waiting)

    def add(self, key: KeyT) -> None:
        """Let a key be worked on as soon as possible; once, however often it is added until then."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._added:
            self._added[key] = self._clock()
            self._waiting.append(key)
            metrics.ADDED.inc()
            metrics.DEPTH.set(len(self._waiting))
            self._wake.set()

    def add_after(self, key: KeyT, seconds: float) -> None:
        """Let a key be worked on after a delay. Of several delays the one that ends first counts."""
        due = self._clock() + seconds
        if key in self._delayed:
            earlier, timer = self._delayed[key]
            if earlier <= due:
                return
            timer.cancel()
        timer = asyncio.get_running_loop().call_later(seconds, self._end_delay, key)
        self._delayed[key] = (due, timer)

    def retry(self, key: KeyT) -> float:
        """Let a key that failed be worked on after a backoff, which is returned in seconds.

        It is doubled with each failure in a row; jitter keeps keys that failed together from coming back together.
        """
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        longest = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 16), LONGEST_BACKOFF_SECONDS)
        seconds = longest * (0.5 + self._jitter() / 2)
        metrics.RETRIES.inc()
        self.add_after(key, seconds)
        return seconds

    def succeeded(self, key: KeyT) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)

    async def get(self) -> KeyT:
        """Wait for a key and take it into work. `done` must follow."""
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        key = self._waiting.popleft()
        now = self._clock()
        metrics.DEPTH.set(len(self._waiting))
        metrics.QUEUED_SECONDS.observe(now - self._added.pop(key))
        self._working[key] = now
        return key

    def done(self, key: KeyT) -> None:
        """End the work on a key; if it was added meanwhile, it waits again."""
        now = self._clock()
        metrics.WORKED_SECONDS.observe(now - self._working.pop(key))
        self._finished_last = now
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def stalled_seconds(self) -> float:
        """Return for how long there has been work and nothing was finished; 0 when there is none."""
        now = self._clock()
        since = [*self._working.values(), *(self._added[key] for key in list(self._waiting)[:1])]
        return now - max(min(since), self._finished_last) if since else 0.0

    def in_work_seconds(self) -> list[float]:
        """Return how long each key that is in work has been so."""
        now = self._clock()
        return [now - since for since in self._working.values()]

    def _end_delay(self, key: KeyT) -> None:
        self._delayed.pop(key, None)
        self.add(key)
