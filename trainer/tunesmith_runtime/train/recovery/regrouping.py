"""Elastic runs in the driver: with how many workers training goes on, and when further ones take part."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tunesmith_api import elastic
from tunesmith_api.contract import ELASTIC_SECONDS_VARIABLE, TrainRun
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.recovery.pod import PodFiles

# A pod that is replaced is back by then where its image is on the node; a beginning anew costs about as much.
DEFAULT_SECONDS = 30.0
POLL_SECONDS = 2.0


def patience() -> float:
    """Return for how many seconds workers that are missing are waited for, and further ones are looked at."""
    given = os.environ.get(ELASTIC_SECONDS_VARIABLE)
    if not given:
        return DEFAULT_SECONDS
    try:
        return float(given)
    except ValueError as error:
        raise ConfigError(f"${ELASTIC_SECONDS_VARIABLE} is a number of seconds, not {given}") from error


def fitting(config: TrainRun, joined: int) -> int:
    """Return how many of the workers that have joined can train together; 0: too few have."""
    if joined >= config.workers:
        return config.workers
    if config.min_workers is None:
        return 0
    possible = elastic.sizes(config.workers, config.min_workers, config.training.gradient_accumulation_steps)
    return next((count for count in possible if count <= joined), 0)


def regrouped(config: TrainRun, workers: int) -> TrainRun:
    """Return what so many workers train by: a step of theirs is one of all workers together."""
    if workers == config.workers:
        return config
    steps = elastic.accumulation(config.workers, config.training.gradient_accumulation_steps, workers)
    training = config.training.model_copy(update={"gradient_accumulation_steps": steps})
    return config.model_copy(update={"workers": workers, "training": training})


@contextmanager
def growing(config: TrainRun, workers: int, joined: Callable[[], int], pod: PodFiles) -> Iterator[None]:
    """While `workers` of them train, ask for others in their place as soon as more have been there for a while."""
    if config.min_workers is None or workers == config.workers:
        yield
        return
    stop, settled = threading.Event(), patience()

    def look() -> None:
        since: float | None = None
        while not stop.wait(POLL_SECONDS):
            if fitting(config, joined()) <= workers:
                since = None
                continue
            since = since or time.monotonic()
            if time.monotonic() - since >= settled:
                print("more workers have joined: training goes on with them", flush=True)  # noqa: T201 - the run's log
                pod.ask_to_regroup()
                return

    thread = threading.Thread(target=look, name="growing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
