"""Ray Train around the training function: one worker in this process, several on a Ray cluster.

Import it after `environment.prepare()`: Ray reads its settings once, when it is imported.
"""

import tempfile
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from tunesmith_api.contract import TrainRun, run_config
from tunesmith_runtime.errors import as_run_error
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.cluster import Cluster, cluster, wait_for_workers
from tunesmith_runtime.train.failures import WorkerLostError, cause
from tunesmith_runtime.train.inputs import TokenisedData

# How often the workers start again within one attempt after some were lost. A crash of the driver, or an error of
# training itself, ends the attempt.
RESTARTS = 3


def train(config: TrainRun, data: TokenisedData, staged: Path, reporter: ProgressReporter) -> None:
    """Train with Ray Train's TorchTrainer on all of the run's workers; rank 0 leaves the model in `staged`.

    A single worker runs in this process (Ray Train's local mode): a cluster of its own would add half a minute and a
    gigabyte and bring nothing, because an attempt ends with its only worker either way. Ray keeps no checkpoint: ours
    carry a manifest, and training goes on from the last complete one.
    Raises RunError, with the worker's own sentence when it left one.
    """
    loop = {
        "config": config.model_dump_json(by_alias=True, exclude_none=True),
        "data": data,
        "staged": staged,
        "reporter": reporter,
    }
    if config.workers == 1 and config.gpus <= 1:
        _fit(config, loop, None)
        return
    with cluster(config, reporter) as ray_cluster:
        for restart in range(RESTARTS + 1):
            try:
                _fit(config, loop, ray_cluster)
            except WorkerLostError as error:
                if not ray_cluster.pods or restart == RESTARTS:
                    raise
                print(f"{error.message}; starting the workers again", flush=True)  # noqa: T201 - the run's log
                wait_for_workers(config, reporter)
            else:
                return


def _fit(config: TrainRun, loop: dict[str, Any], ray_cluster: Cluster | None) -> None:
    with tempfile.TemporaryDirectory(prefix="tunesmith-ray-") as storage_path:
        trainer = TorchTrainer(
            _worker,
            train_loop_config=loop,
            torch_config=TorchConfig(backend="nccl" if config.gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=ray_cluster.workers if ray_cluster else 0,
                use_gpu=config.gpus > 0,
                resources_per_worker={"CPU": 1, **({"GPU": 1} if config.gpus else {})},
                label_selector=ray_cluster.label_selector() if ray_cluster else None,
            ),
            run_config=RunConfig(
                name=f"{config.run.name}-a{config.run.attempt}",
                storage_path=storage_path,
                failure_config=FailureConfig(max_failures=0),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise cause(error) from error


def _worker(loop: dict[str, Any]) -> None:
    """Run in each of Ray Train's workers."""
    from tunesmith_runtime.train import loop as training_loop

    config = run_config.validate_json(loop["config"])
    assert isinstance(config, TrainRun)  # noqa: S101 - written by `train` above
    try:
        training_loop.train(config, loop["data"], loop["staged"], loop["reporter"])
    except Exception as error:
        failure = as_run_error(error)
        if failure is error:
            raise
        raise failure from error  # what every process can read: the driver has not imported what this one has
