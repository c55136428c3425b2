"""Settings that Ray and torch read from the environment when they are imported."""

import os
import secrets

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


def prepare(gpus: int) -> None:
    """Set up this process, and those it starts, for training on that many of this machine's GPUs.

    Without a token of its own a local Ray leaves one in the home directory, which then locks other clusters out.
    """
    for name, value in _RAY.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif gpus == 1:
        # Without this the Trainer would spread one worker over every GPU that it sees.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
