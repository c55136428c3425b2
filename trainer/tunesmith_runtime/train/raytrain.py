"""Ray Train around the training function: one worker in this process, several on a Ray cluster.

Import it after `environment.prepare()`: Ray reads its settings once, when it is imported.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from tunesmith_api.contract import RunIdentity, TrainRun
from tunesmith_runtime import process
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import ray_worker
from tunesmith_runtime.train.cluster import NODE_ID, Cluster, cluster, wait_for_workers
from tunesmith_runtime.train.failures import cause
from tunesmith_runtime.train.inputs import TokenisedData
from tunesmith_runtime.train.ray_worker import Share
from tunesmith_runtime.train.recovery import losses, regrouping
from tunesmith_runtime.train.recovery.attempt import Attempt, Outcome, RegroupingError
from tunesmith_runtime.train.recovery.hanging import HangWatch
from tunesmith_runtime.train.recovery.pod import PodFiles
from tunesmith_runtime.train.recovery.recovering import Recoveries

# How long other pods may take to begin to write their stacks.
ASK_SECONDS = 20.0


def train(
    config: TrainRun,
    data: TokenisedData,
    staged: Path,
    reporter: ProgressReporter,
    attempt: Attempt,
    watch: HangWatch,
) -> Outcome:
    """Train with Ray Train's TorchTrainer on all of the run's workers; rank 0 leaves the model in `staged`.

    A single worker runs in this process (Ray Train's local mode): a cluster of its own would add half a minute and a
    gigabyte and bring nothing, because an attempt ends with its only worker either way. Ray keeps no checkpoint: ours
    carry a manifest, and training goes on from the last complete one. `watch` sees to it that a hang ends.
    Raises RunError, with the worker's own sentence when it left one.
    """
    pod, share = PodFiles.of(config.run), Share(data, staged, reporter, attempt)
    with process.finishing(pod.ask_to_end, config.limits.grace_seconds):
        if config.workers == 1 and config.gpus <= 1:
            return _fit(config, share, None)
        with (
            cluster(config, reporter) as ray_cluster,
            watch.of_head(ray_cluster.dead),
        ):
            return _recovering(config, share, ray_cluster, reporter, pod, watch)


def _recovering(
    config: TrainRun,
    share: Share,
    ray_cluster: Cluster,
    reporter: ProgressReporter,
    pod: PodFiles,
    watch: HangWatch,
) -> Outcome:
    """Train, and start the workers again when some were lost, as often as the run bears it. Raises RunError."""
    recoveries, witnesses = Recoveries(reporter, config.limits.max_failures), losses.Witnesses(config.run)
    gone: frozenset[str] = frozenset()
    while True:
        pod.begin_group()
        began = time.monotonic()
        pods = len(ray_cluster.nodes) if ray_cluster.pods else config.workers
        if config.min_workers is not None:
            reporter.update(workers=pods)
        try:
            with (
                watch.of_workers(_asking(config.run, ray_cluster)),
                regrouping.growing(config, pods, partial(ray_cluster.joined, gone), pod),
            ):
                return _fit(regrouping.regrouped(config, pods), share, ray_cluster)
        except RegroupingError:
            reporter.update(stage="starting with more workers")
            ray_cluster = ray_cluster.of(wait_for_workers(config, reporter, gone, patience=0.0))
            share = share.lost_at(None)
            continue
        except RunError as error:
            lost_at = pod.last_beat() or began
            loss = None if process.is_ending() else losses.find(error, ray_cluster, witnesses)
            if loss is None or ray_cluster.nodes[0].id in loss.gone:  # this pod is to end
                raise
            recoveries.note(loss, error, lost_at)
        gone |= loss.gone
        if ray_cluster.pods:
            ray_cluster = ray_cluster.of(wait_for_workers(config, reporter, gone))
        share = share.lost_at(lost_at)


def _asking(run: RunIdentity, ray_cluster: Cluster) -> Callable[[], None]:
    """Return what has the workers on other pods write their stacks."""
    identity = run.model_dump_json(by_alias=True)

    def ask() -> None:
        asked = ray.remote(num_cpus=0, max_retries=0)(
            partial(ray_worker.ask_for_stacks, run.model_dump_json(by_alias=True))
        )
        others = ray_cluster.nodes[1:]
        ray.wait(
            [asked.options(label_selector={NODE_ID: node.id}).remote(identity) for node in others],
            num_returns=len(others),
            timeout=ASK_SECONDS,
        )

    return ask if len(ray_cluster.nodes) > 1 else lambda: None


def _fit(config: TrainRun, share: Share, ray_cluster: Cluster | None) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="tunesmith-ray-") as storage_path:
        trainer = TorchTrainer(
            ray_worker.work,
            train_loop_config=ray_worker.loop_config(config, share, here=ray_cluster is None),
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
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            ),
        )
        try:
            result = trainer.fit()
        except TrainingFailedError as error:
            raise cause(error) from error
    assert isinstance(result.return_value, Outcome)  # noqa: S101 - what `work` returns
    return result.return_value
