"""Settings that Ray, torch and DeepSpeed read from the environment when they are imported."""

import os
import secrets
import socket

from tunesmith_api.contract import TrainRun

_RAY = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # The workers' log is our log file: each line once, as it was written.
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Nobody scrapes or drains a cluster that lives as long as its run.
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
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
        # Without this the Trainer would spread one worker over every GPU that it sees.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    if config.deepspeed is not None and config.workers == 1 and config.gpus <= 1:
        os.environ |= _alone()


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
