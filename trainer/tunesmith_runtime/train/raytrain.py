"""Ray Train around the training function: one worker in this process, several on a Ray cluster of this machine.

Import it after `environment.prepare()`: Ray reads its settings once, when it is imported.
"""

import tempfile
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from tunesmith_api.contract import TrainRun, run_config
from tunesmith_runtime.errors import RunError, as_run_error
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.inputs import TokenisedData


class WorkerError(RunError):
    """What a worker reported before it ended."""

    def __init__(self, reason: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


def train(config: TrainRun, data: TokenisedData, staged: Path, reporter: ProgressReporter, *, workers: int) -> None:
    """Train with Ray Train's TorchTrainer on that many workers; rank 0 leaves the model in `staged`.

    A single worker runs in this process (Ray Train's local mode): a cluster of its own would add half a minute and a
    gigabyte and bring nothing, because an attempt ends with its only worker either way. Ray keeps no checkpoint: ours
    carry a manifest, and the next attempt goes on from the last complete one.
    Raises RunError, with the worker's own sentence when it left one.
    """
    if workers > 1:
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
                    num_workers=workers if workers > 1 else 0,
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
        if ray.is_initialized():
            ray.shutdown()


def _start() -> None:
    try:
        ray.init(address="local", include_dashboard=False, logging_config=ray.LoggingConfig(log_level="ERROR"))
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
    except Exception as error:
        reporter.update(failure=as_run_error(error).failure())
        raise
