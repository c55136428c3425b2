"""What the processes of one pod tell each other: that they train, that the pod is to end, that all is saved.

A pod's first process gets SIGTERM, and its training workers are processes of Ray's, which nobody tells. All of them see
the temporary folder of the pod, and there is a file for each thing to say.
"""

import os
import shutil
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tunesmith_api.contract import RunIdentity
from tunesmith_runtime.storage.scratch import scratch, short_hash

_TRAINING, _ENDING, _STACKS, _BEAT, _CRASH = "training-", "ending", "stacks", "beat", "crash-"
_REGROUPING = "regrouping"
_NANOSECONDS = 1_000_000_000


def pod_name() -> str:
    """Return the pod, or the machine, of this process."""
    return os.environ.get("POD_NAME") or os.environ.get("HOSTNAME") or socket.gethostname()


@dataclass(frozen=True)
class PodFiles:
    """The files by which the processes of a pod talk about one attempt."""

    folder: Path

    @classmethod
    def of(cls, run: RunIdentity) -> "PodFiles":
        """Return those of this pod."""
        folder = scratch("pods", short_hash(run.uid, str(run.attempt), pod_name()))
        return cls(folder)

    def clear(self) -> None:
        """Forget what was said before: the pod's first process has begun anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def begin_training(self) -> None:
        """Say that this process trains, so that it can save a checkpoint."""
        self._say(f"{_TRAINING}{os.getpid()}")

    def end_training(self) -> None:
        """Say that there is nothing to wait for any more in this process."""
        (self.folder / f"{_TRAINING}{os.getpid()}").unlink(missing_ok=True)

    def trains(self) -> bool:
        """Return whether a process of this pod trains."""
        pids = [path.name.removeprefix(_TRAINING) for path in self.folder.glob(f"{_TRAINING}*")]
        return any(Path("/proc", pid).exists() for pid in pids)  # one that was killed has taken nothing back

    def ask_to_end(self) -> bool:
        """Say that the pod is to end; return whether a worker trains that can save a checkpoint before."""
        self._say(_ENDING)
        return self.trains()

    def is_ending(self) -> bool:
        """Return whether the pod is to end."""
        return self._said(_ENDING)

    def ask_to_regroup(self) -> None:
        """Say that the workers of the run are to begin anew as another number of them."""
        self._say(_REGROUPING)

    def wants_regrouping(self) -> bool:
        """Return whether somebody has said so."""
        return self._said(_REGROUPING)

    def ask_for_stacks(self) -> None:
        """Have all workers of the pod write their stacks to the log."""
        self._say(_STACKS)

    def wants_stacks(self) -> bool:
        """Return whether somebody has asked for them."""
        return self._said(_STACKS)

    def crash_file(self) -> Path:
        """Return the file for the last stacks of this process, should it crash."""
        return self.folder / f"{_CRASH}{os.getpid()}"

    def take_crashes(self) -> tuple[str, ...]:
        """Return the last stacks of the processes that have crashed, oldest first, and delete them."""
        found = []
        for file in sorted(self.folder.glob(f"{_CRASH}*"), key=lambda file: file.stat().st_mtime_ns):
            if file.name != self.crash_file().name and not Path("/proc", file.name.removeprefix(_CRASH)).exists():
                if text := file.read_text(encoding="utf-8", errors="replace"):
                    found.append(text)
                file.unlink()
        return tuple(found)

    def beat(self) -> None:
        """Leave a sign of life of the first worker."""
        now = time.monotonic_ns()  # which all processes of the machine share, and which nobody sets
        file = self.folder / _BEAT
        with suppress(OSError):
            try:
                os.utime(file, ns=(now, now))
            except FileNotFoundError:
                file.touch()
                os.utime(file, ns=(now, now))

    def begin_group(self) -> None:
        """Forget what was said of the workers before: others begin."""
        for word in (_BEAT, _REGROUPING):
            (self.folder / word).unlink(missing_ok=True)

    def last_beat(self) -> float | None:
        """Return when the last sign of life was, in seconds of the monotonic clock; None before the first."""
        try:
            return (self.folder / _BEAT).stat().st_mtime_ns / _NANOSECONDS
        except FileNotFoundError:
            return None

    def _say(self, word: str) -> None:
        with suppress(OSError):  # a full disk must not keep a process from ending
            (self.folder / word).touch()

    def _said(self, word: str) -> bool:
        return (self.folder / word).exists()
