"""The stacks of a process, for its log: by asking, by a signal, and when nothing in it can be asked any more."""

import faulthandler
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tunesmith_runtime.train.recovery.life import Life, living
from tunesmith_runtime.train.recovery.pod import PodFiles, pod_name

# By this signal a person gets the stacks of a worker at any time, whatever it is in the middle of.
SIGNAL = signal.SIGUSR1
POLL_SECONDS = 1.0
# How much later than the watch the timer goes off, which nothing in the process has to run for.
LATER_SECONDS = 60.0
_STDERR = 2


def dump(title: str) -> None:
    """Write the stacks of all threads to the log."""
    text = f"{title}: stacks of {pod_name()}, process {os.getpid()}, rank {os.environ.get('RANK', '0')}\n"
    os.write(_STDERR, text.encode())
    faulthandler.dump_traceback(_STDERR, all_threads=True)


def wind_up(seconds: float, *, ends: bool) -> None:
    """Have the stacks written after `seconds` unless this is called again until then; `ends` ends the process as well.

    It is for native code that keeps Python from running, and takes none of it to go off.
    """
    faulthandler.dump_traceback_later(seconds, exit=ends, file=_STDERR)


@contextmanager
def answering(pod: PodFiles, seconds: float | None, *, first: bool) -> Iterator[None]:
    """Have this worker of Ray's give signs of life, if it is the first, and its stacks when it is asked for them."""
    faulthandler.register(SIGNAL, file=_STDERR, all_threads=True)
    crash = pod.crash_file().open("w")
    faulthandler.enable(crash)  # the driver finds it there, and writes it to the log
    life = Life(pod.beat if first else lambda: None)
    life.beat()
    stop = threading.Event()

    def answer() -> None:
        answered = False
        while not stop.wait(POLL_SECONDS):
            life.look()
            if not answered and pod.wants_stacks():
                answered = True
                dump("asked for")
            if seconds is not None:
                wind_up(seconds + LATER_SECONDS, ends=False)

    thread = threading.Thread(target=answer, name="stacks", daemon=True)
    thread.start()
    try:
        with living(life):
            yield
    finally:
        stop.set()
        thread.join()
        if seconds is not None:
            faulthandler.cancel_dump_traceback_later()
        faulthandler.unregister(SIGNAL)
        faulthandler.enable(_STDERR)
        crash.close()
        pod.crash_file().unlink(missing_ok=True)
