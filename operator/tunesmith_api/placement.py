"""How many training workers the pods of a run hold."""

import math

from tunesmith_api.contract import TrainRun

# Nothing big goes through Ray's object store: without this it takes a third of the pod's memory.
OBJECT_STORE_BYTES = 256 * 1024 * 1024


def devices(config: TrainRun) -> int:
    """Return how many training workers each pod holds: one for each GPU, or one on the CPU.

    The CPUs of a pod may be shared by several trials of a search.
    """
    if config.tuning is not None and not config.gpus:
        return math.ceil(trials_at_once(config) / config.workers)
    return max(1, config.gpus)


def trials_at_once(config: TrainRun) -> int:
    """Return how many trials of a search run at the same time: as many as wanted, or one on each device."""
    wanted = config.tuning.max_concurrent_trials if config.tuning else None
    return wanted or config.workers * max(1, config.gpus)
