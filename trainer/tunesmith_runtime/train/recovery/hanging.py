"""Notices that a run hangs, has every worker write its stacks to the log, and ends the attempt.

A thread of the process that reports looks for signs of life (see `life`): its own or, while workers of Ray train, those
of the first of them. The others wait for it or it for them, so that no further one has to be watched. It also looks
whether the processes of Ray's head are there, without which that process would wait for a minute and then be aborted.
"""

import faulthandler
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tunesmith_api import conditions
from tunesmith_api.contract import ProgressDocument
from tunesmith_runtime import process
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.recovery import stacks
from tunesmith_runtime.train.recovery.life import Life, living
from tunesmith_runtime.train.recovery.pod import PodFiles

# How long workers have to write their stacks, and Ray to bring them into this process's log.
STACKS_SECONDS = 5.0
# How long the process may take to end by itself once it was found to hang.
END_SECONDS = 10.0
# A run that lives says so in its progress at least this often, or four times within its timeout.
RENEWAL_SECONDS = 60.0
_RAISES = signal.SIGUSR2


class HungError(RunError):
    """Nothing has moved for too long."""

    reason = conditions.HUNG


class HeadLostError(RunError):
    """A process of Ray's head is gone, and the workers with it."""

    reason = conditions.WORKER_LOST


class HangWatch:
    """Watches the run of this process; `seconds` without a sign of life are a hang, None stands for any number."""

    def __init__(self, seconds: float | None, reporter: ProgressReporter, pod: PodFiles) -> None:
        self.life = Life()
        self._seconds = seconds
        self._reporter = reporter
        self._pod = pod
        self._poll = min(stacks.POLL_SECONDS, (seconds or math.inf) / 4)
        self._since: float | None = None
        self._ask_others: Callable[[], None] = lambda: None
        self._dead: Callable[[], str | None] = lambda: None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hang watch", daemon=True)
        self._error: RunError | None = None

    @contextmanager
    def of_head(self, dead: Callable[[], str | None]) -> Iterator[None]:
        """Watch Ray's head as well; `dead` says which of its processes has ended."""
        self._dead = dead
        try:
            yield
        finally:
            self._dead = lambda: None

    @contextmanager
    def of_workers(self, ask_others: Callable[[], None]) -> Iterator[None]:
        """Watch the first of Ray's workers instead; `ask_others` has those of other pods asked for their stacks."""
        self._pod.begin_group()
        self._since, self._ask_others = time.monotonic(), ask_others
        try:
            yield
        finally:
            self.life.beat()
            self._since = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the code within runs, in the main thread."""
        before = signal.signal(_RAISES, self._raise)
        self._thread.start()
        try:
            with living(self.life):
                yield
        finally:
            self._stop.set()
            self._thread.join(END_SECONDS if self._error is None else 0)
            faulthandler.cancel_dump_traceback_later()
            signal.signal(_RAISES, before)

    def _silence(self) -> float:
        if self._since is None:
            return self.life.silence
        return time.monotonic() - max(self._since, self._pod.last_beat() or 0.0)

    def _watch(self) -> None:
        told = time.monotonic()
        while not self._stop.wait(self._poll):
            if (dead := self._dead()) is not None:
                self._end(HeadLostError(dead))
                return
            if self._seconds is None:
                continue
            self.life.look()
            silence = self._silence()
            if silence >= self._seconds:
                error = HungError(_sentence(self._reporter.read(), silence))
                self._gather_stacks(error)
                self._end(error)
                return
            stacks.wind_up(self._seconds + stacks.LATER_SECONDS, ends=True)
            if time.monotonic() - told >= min(RENEWAL_SECONDS, self._seconds / 4) and silence < self._seconds / 4:
                told = time.monotonic()
                with suppress(OSError):
                    self._reporter.update()

    def _gather_stacks(self, error: HungError) -> None:
        stacks.dump(error.message)
        if self._since is not None:
            self._pod.ask_for_stacks()
            with suppress(Exception):  # of Ray's, which may be what hangs
                self._ask_others()
            time.sleep(STACKS_SECONDS)

    def _end(self, error: RunError) -> None:
        """Report an error and raise it in the main thread, or end the process should that not help."""
        if self._stop.is_set() or process.is_ending():  # it has come to its end after all
            return
        self._error = error
        process.leave_last_words(error.message)
        self._reporter.update(state="Failed", failure=error.failure())
        signal.pthread_kill(threading.main_thread().ident or 0, _RAISES)
        if not self._stop.wait(END_SECONDS):
            process.end_now(1)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._error is not None:
            raise self._error


def _sentence(document: ProgressDocument, silence: float) -> str:
    if document.training is None or not document.stage.startswith("training"):
        return f"nothing has moved for {silence:.0f} s while {document.stage or 'starting'}; the log has the stacks"
    return (
        f"no optimizer step for {silence:.0f} s after step {document.training.step}; the log has the stacks of all "
        "workers"
    )
