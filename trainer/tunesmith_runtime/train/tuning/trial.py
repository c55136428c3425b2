"""One trial, in a process of Ray Tune's: a training like any other, which tells the search how it does."""

import gc
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ray import tune

from tunesmith_api.contract import TrainRun
from tunesmith_runtime.errors import RunError, as_run_error
from tunesmith_runtime.train import compiling
from tunesmith_runtime.train.inputs import TokenisedData
from tunesmith_runtime.train.tuning.reporting import ENDED, FAILURE, STEP, VALUE, TrialReporter

# What Ray Tune calls the number of a trial.
NUMBER = "number"


@dataclass(frozen=True)
class Job:
    """What the trials of a search have in common. `configs` and `reports` are by their numbers, the configs as JSON.

    `per_pod` is how many share the CPUs of a pod. `metric` is what they are compared by.
    """

    configs: Mapping[int, str]
    reports: Mapping[int, list[tuple[int, float]]]
    data: TokenisedData
    metric: str
    per_pod: int


def run(space: Mapping[str, Any], job: Job) -> None:
    """Carry out the trial whose number Ray Tune names, from its last checkpoint if there is one.

    The process may have run another trial before. What goes wrong is told and not raised: Ray would try it again.
    """
    from tunesmith_runtime.train import loop

    number = int(space[NUMBER])
    # By it a worker knows how many share its CPUs and its memory.
    os.environ["LOCAL_WORLD_SIZE"] = str(job.per_pod)
    _make_room()
    known = job.reports[number]
    for step, value in known:
        tune.report({STEP: step, VALUE: value})
    config = TrainRun.model_validate_json(job.configs[number])
    log = redirect_stdout(_Named(sys.stdout, f"trial {number}: "))
    with log, tempfile.TemporaryDirectory(prefix="tunesmith-trial-") as folder:
        reporter = TrialReporter(Path(folder, "progress.json"), job.metric, tune.report, (step for step, _ in known))
        try:
            compiling.check(config)
            loop.train(config, job.data, None, reporter)
        except Exception as error:
            failure = as_run_error(error)
            if type(failure) is RunError:
                traceback.print_exception(error)
            reporter.tell(reporter.read(), {FAILURE: failure.failure().to_json()})
        else:
            reporter.tell(reporter.read(), {ENDED: True})


class _Named(io.TextIOBase):
    """Begins each line with a name: the trials share one log."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._begins = True

    def write(self, text: str) -> int:
        """Write a text, a line or a part of one."""
        for line in text.splitlines(keepends=True):
            self._stream.write(f"{self._name}{line}" if self._begins else line)
            self._begins = line.endswith("\n")
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        self._stream.flush()


def _make_room() -> None:
    """Give back what the trial before has left in memory."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
