"""The Ray side of a run: a cluster of this machine, and Ray Train's workers on it."""

import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from tunesmith_api import conditions
from tunesmith_api.contract import TrainRun, run_config
from tunesmith_runtime.errors import RunError, as_run_error
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.inputs import TokenisedData


def train(config: TrainRun, data: TokenisedData, staged: Path, reporter: ProgressReporter) -> None:
    """Train with Ray Train's TorchTrainer; rank 0 leaves the model in `staged`.

    Ray keeps no checkpoint: ours carry a manifest, and the next attempt goes on from the last complete one.
    Raises RunError with the worker's own sentence when it left one.
    """
    _start()
    try:
        with tempfile.TemporaryDirectory(prefix="tunesmith-ray-") as storage_path:
            trainer = TorchTrainer(
                _worker,
                train_loop_config={
                    "config": config.model_dump_json(by_alias=True, exclude_none=True),
                    "data": data,
                    "staged": staged,
                    "reporter": reporter,
                },
                torch_config=TorchConfig(backend="nccl" if config.gpus else "gloo"),
                scaling_config=ScalingConfig(
                    num_workers=max(1, config.gpus),
                    use_gpu=config.gpus > 0,
                    resources_per_worker={"CPU": 1, **({"GPU": 1} if config.gpus else {})},
                ),
                run_config=RunConfig(
                    name=f"{config.run.name}-a{config.run.attempt}",
                    storage_path=storage_path,
                    failure_config=FailureConfig(max_failures=0),
                ),
            )
            trainer.fit()
    except TrainingFailedError as error:
        failure = reporter.read().failure
        if failure is None:
            raise RunError(f"a training worker was lost: {error}") from error
        raise WorkerError(failure.reason, failure.message, retryable=failure.retryable) from error
    finally:
        ray.shutdown()


class WorkerError(RunError):
    """What a worker reported before it ended."""

    def __init__(self, reason: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


def _start() -> None:
    # Without a token of its own a local Ray leaves one in the home directory, which then breaks other clusters.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address="local", include_dashboard=False, log_to_driver=True)
    except Exception as error:
        raise RunError(f"Ray did not start: {error}") from error


def _worker(loop: dict[str, Any]) -> None:
    """Run in each of Ray Train's workers."""
    from tunesmith_runtime.train import sft

    config = run_config.validate_json(loop["config"])
    assert isinstance(config, TrainRun)  # noqa: S101 - written by `train` above
    reporter: ProgressReporter = loop["reporter"]
    try:
        sft.train(config, loop["data"], loop["staged"], reporter)
    except MemoryError as error:
        failure = RunError(f"the worker ran out of memory: {error}").failure()
        reporter.update(failure=failure.model_copy(update={"reason": conditions.OUT_OF_MEMORY}))
        raise
    except Exception as error:
        reporter.update(failure=as_run_error(error).failure())
        raise
