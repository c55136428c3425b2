"""What Ray Train runs in each worker.

Ray's controller imports this module as well, anew for every start of the workers, and the libraries of training would
take it longer than all else that it does. So nothing here is imported before it is needed, and what a worker gets
comes packed.
"""

import os
import pickle
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tunesmith_api.contract import RunIdentity, TrainRun, run_config
from tunesmith_runtime.errors import as_run_error
from tunesmith_runtime.train.recovery.attempt import Outcome
from tunesmith_runtime.train.recovery.pod import PodFiles
from tunesmith_runtime.train.recovery.stacks import answering

if TYPE_CHECKING:
    from pathlib import Path

    from tunesmith_runtime.progress import ProgressReporter
    from tunesmith_runtime.train.inputs import TokenisedData
    from tunesmith_runtime.train.recovery.attempt import Attempt


@dataclass(frozen=True)
class Share:
    """What each worker gets besides the run's config."""

    data: "TokenisedData"
    staged: "Path"
    reporter: "ProgressReporter"
    attempt: "Attempt"

    def lost_at(self, moment: float | None) -> "Share":
        """Return what workers get that take the place of others, which were lost at a moment; None: none were."""
        return replace(self, attempt=replace(self.attempt, lost_at=moment))


def loop_config(config: TrainRun, share: Share, *, here: bool) -> dict[str, Any]:
    """Return Ray Train's train_loop_config; `here`: of a single worker, in this process."""
    from ray import cloudpickle

    # What is pickled goes to the run's own processes only, over connections that its token opens.
    return {
        "config": config.model_dump_json(by_alias=True, exclude_none=True),
        "share": share if here else cloudpickle.dumps(share),
    }


def work(loop: dict[str, Any]) -> Outcome:
    """Train, as one of the workers."""
    config = run_config.validate_json(loop["config"])
    assert isinstance(config, TrainRun)  # noqa: S101 - written by `loop_config`
    here = isinstance(loop["share"], Share)
    pod = PodFiles.of(config.run)
    first = os.environ.get("RANK", "0") == "0"
    seconds = config.limits.progress_timeout_seconds
    with nullcontext() if here else answering(pod, seconds, first=first):
        from tunesmith_runtime.train import loop as training_loop
        from tunesmith_runtime.train.recovery.ending import Bounds

        share = loop["share"] if here else pickle.loads(loop["share"])  # noqa: S301 - see `loop_config`
        bounds = Bounds(pod, share.attempt.ends_at)
        try:
            return training_loop.train(
                config, share.data, share.staged, share.reporter, bounds, lost_at=share.attempt.lost_at
            )
        except Exception as error:
            failure = as_run_error(error)
            if failure is error:
                raise
            raise failure from error  # what every process can read: the driver has not imported what this one has


def ask_for_stacks(run: str) -> None:
    """Have the workers of this pod write their stacks; `run` is the identity of their run as JSON."""
    PodFiles.of(RunIdentity.model_validate_json(run)).ask_for_stacks()
