"""The process that measures a checkpoint while training goes on."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tunesmith_api.contract import RunFailure, TrainRun
from tunesmith_runtime import process
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.train import measure_checkpoint
from tunesmith_runtime.train.measure_checkpoint import Request
from tunesmith_runtime.train.precision import Precision
from tunesmith_runtime.train.room import CPUS_FOR_EACH_WORKER, spare_gpu

# The places of a training group, which the process has no part in.
_OF_WORKERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class CheckpointProcess:
    """Measures one checkpoint after another, each in a process of its own, on a spare GPU or else on CPUs."""

    def __init__(self, config: TrainRun, precision: Precision) -> None:
        self._config = config.model_dump_json(by_alias=True, exclude_none=True)
        self._precision = precision
        self._folder = tempfile.TemporaryDirectory(prefix="tunesmith-measuring-", ignore_cleanup_errors=True)
        self._running: subprocess.Popen[bytes] | None = None
        self._step = 0

    def start(self, step: int, checkpoint: Path) -> None:
        """Begin to measure the checkpoint of a step; the one before must have been collected."""
        assert self._running is None  # noqa: S101 - one at a time
        self._result.unlink(missing_ok=True)
        request = Request(
            config=self._config,
            checkpoint=str(checkpoint),
            result=str(self._result),
            precision=self._precision,
            threads=max(1, process.cpus() // CPUS_FOR_EACH_WORKER),
        )
        file = Path(self._folder.name, "request.json")
        file.write_text(json.dumps(asdict(request)), encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if name not in _OF_WORKERS}
        environment["CUDA_VISIBLE_DEVICES"] = spare_gpu() or ""
        self._running = subprocess.Popen(
            [sys.executable, "-m", measure_checkpoint.__name__, str(file)], stdin=subprocess.PIPE, env=environment
        )
        self._step = step

    def collect(self, *, wait: bool) -> tuple[int, dict[str, float]] | None:
        """Return the step and the metrics of what was started; None when there is nothing, or not yet.

        Raises RunError when it could not be measured.
        """
        running = self._running
        if running is None or (not wait and running.poll() is None):
            return None
        code = running.wait()
        self._end()
        try:
            found = json.loads(self._result.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(_death(self._step, code)) from None
        if "failure" in found:
            failure = RunFailure.model_validate(found["failure"])
            error = RunError(f"checkpoint {self._step} cannot be measured: {failure.message}")
            error.reason, error.retryable = failure.reason, failure.retryable
            raise error
        return self._step, found["metrics"]

    def close(self) -> None:
        """End what is running."""
        self._end()
        self._folder.cleanup()

    @property
    def _result(self) -> Path:
        return Path(self._folder.name, "result.json")

    def _end(self) -> None:
        if self._running is not None:
            if self._running.poll() is None:
                self._running.kill()
                self._running.wait()
            if self._running.stdin is not None:
                self._running.stdin.close()
            self._running = None


def _death(step: int, code: int) -> str:
    if code == -signal.SIGKILL:
        return (
            f"the process that measured checkpoint {step} was killed, most likely for its memory; give the pod more, "
            "or set spec.evaluation.parallel to false"
        )
    return f"the process that measured checkpoint {step} ended with code {code} and without a result; see the log"
