"""Settings that Ray, torch and DeepSpeed read from the environment when they are imported."""

import os
import secrets
import socket
from pathlib import Path

from tunesmith_api.contract import TrainRun

# A GPU that no worker uses, as CUDA_VISIBLE_DEVICES names it.
SPARE_GPU_VARIABLE = "TUNESMITH_SPARE_GPU"
_DEVICES = "nvidia[0-9]*"
_RAY = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # The workers' log is our log file: each line once, as it was written.
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # By 15 all else that runs beside it would come before the training itself.
    "RAY_worker_niceness": "0",
    # Nobody scrapes or drains a cluster that lives as long as its run.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # How soon a node counts as gone that does not say so: 21 seconds when nobody answers, 6 when nobody listens. Ray
    # takes 65 and 15 by itself. A raylet that is alive answers within 5 seconds even where training takes all CPUs.
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    # How often Ray Train looks how its workers do, and how long a group that lost one may take to part.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "3",
    # A pod that is told to end has finished its training when Ray is told: nothing is left to drain.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    # A search keeps a table of its own, and its trials say how far they are between their checkpoints too.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    # How long a trial that is ended may take before its process is given up for another.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def prepare(config: TrainRun) -> None:
    """Set up this process, and those it starts, for training on what the run may use of this machine.

    Without a token of its own a local Ray leaves one in the home directory, which then locks other clusters out.
    """
    for name, value in _RAY.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if config.gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ["DS_ACCELERATOR"] = "cpu"
    elif config.gpus == 1:
        _use_one_gpu(alone=config.workers == 1)
    if config.deepspeed is not None and config.workers == 1 and config.gpus <= 1:
        os.environ |= _alone()


def of_workers() -> dict[str, str]:
    """Return those of the settings that workers need whose pods were started without them, for `ray.init`."""
    names = [*_RAY, "DS_ACCELERATOR", *(["CUDA_VISIBLE_DEVICES"] if os.environ.get("DS_ACCELERATOR") == "cpu" else [])]
    return {name: os.environ[name] for name in names if name in os.environ and name != "RAY_AUTH_MODE"}


def _use_one_gpu(*, alone: bool) -> None:
    """Show the first GPU only: the Trainer would spread one worker over every GPU that it sees.

    What measures checkpoints may use the next one, unless further workers do.
    """
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = shown.split(",") if shown else [str(number) for number in range(len(list(Path("/dev").glob(_DEVICES))))]
    os.environ["CUDA_VISIBLE_DEVICES"] = found[0] if found else "0"
    if alone and len(found) > 1:
        os.environ.setdefault(SPARE_GPU_VARIABLE, found[1])


def _alone() -> dict[str, str]:
    """Return the settings by which Ray Train's local mode makes a process group of one, which DeepSpeed needs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
