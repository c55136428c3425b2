"""The Ray cluster of a run: of its pods when $TUNESMITH_RAY_ADDRESS says where they meet, else of this machine.

Import it after `environment.prepare()`: Ray reads its settings once, when it is imported.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from tunesmith_api.contract import WORKERS_PREFIX_VARIABLE, WORKERS_TIMEOUT_VARIABLE, TrainRun
from tunesmith_runtime import process
from tunesmith_runtime.errors import ConfigError, RunError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.address import OBJECT_STORE_BYTES, HeadAddress, devices, pod_ip

# On a busy machine Ray's processes can miss each other while they start.
STARTS = 3
POLL_SECONDS = 1.0
DEFAULT_WORKERS_TIMEOUT = 900.0
# A sentence names at most this many missing pods.
NAMED = 3
NODE_ID = "ray.io/node-id"


@dataclass(frozen=True)
class Cluster:
    """A running Ray cluster with room for every training worker."""

    head: str
    workers: int
    per_pod: int
    pods: bool

    def label_selector(self) -> list[dict[str, str]] | None:
        """Return for each training worker the node that it must run on.

        Ray Train numbers workers in this order, so rank 0 is in the driver's pod, where the log and the progress are.
        """
        if not self.pods:
            return None
        here, elsewhere = {NODE_ID: self.head}, {NODE_ID: f"!{self.head}"}
        return [here] * self.per_pod + [elsewhere] * (self.workers - self.per_pod)


@contextmanager
def cluster(config: TrainRun, reporter: ProgressReporter) -> Iterator[Cluster]:
    """Run a Ray cluster with all of the run's workers; end it afterwards. Raises RunError when one is missing."""
    address = HeadAddress.from_environment()
    try:
        if address is None:
            _start(num_cpus=config.workers * devices(config))
        else:
            _start(
                num_cpus=devices(config),
                num_gpus=config.gpus,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address=pod_ip(),
                _gcs_port=address.port,
            )
            wait_for_workers(config, reporter)
        yield Cluster(
            head=ray.get_runtime_context().get_node_id(),
            workers=config.workers * devices(config),
            per_pod=devices(config),
            pods=address is not None,
        )
    finally:
        if ray.is_initialized():
            ray.shutdown()


def wait_for_workers(config: TrainRun, reporter: ProgressReporter) -> None:
    """Return once every worker pod has joined.

    The progress says which ones are missing. Raises RunError when some still are after $TUNESMITH_WORKERS_TIMEOUT.
    """
    prefix = os.environ.get(WORKERS_PREFIX_VARIABLE) or f"{config.run.name}-a{config.run.attempt}-workers-"
    expected = [f"{prefix}{number}" for number in range(config.workers - 1)]
    seconds = _timeout()
    deadline = time.monotonic() + seconds
    told = ""
    while missing := _missing(expected):
        told_now = f"waiting for workers: {_listed(missing)}"
        if told_now != told:
            told = told_now
            reporter.update(stage=told)
            print(told, flush=True)  # noqa: T201 - the run's log
        if time.monotonic() > deadline:
            raise RunError(
                f"not all workers joined the run within {seconds:.0f} s: {_listed(missing)}; look at their "
                f"pods, or set ${WORKERS_TIMEOUT_VARIABLE}"
            )
        time.sleep(POLL_SECONDS)


def _missing(expected: list[str]) -> list[str]:
    there = {node["NodeName"] for node in ray.nodes() if node["Alive"]}
    return [name for name in expected if name not in there]


def _listed(missing: list[str]) -> str:
    named = ", ".join(missing[:NAMED])
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"{named}{more} {'is' if len(missing) == 1 else 'are'} missing"


def _timeout() -> float:
    given = os.environ.get(WORKERS_TIMEOUT_VARIABLE)
    if not given:
        return DEFAULT_WORKERS_TIMEOUT
    try:
        return float(given)
    except ValueError as error:
        raise ConfigError(f"${WORKERS_TIMEOUT_VARIABLE} is a number of seconds, not {given}") from error


def _start(*, _gcs_port: int | None = None, **settings: Any) -> None:
    if _gcs_port is not None:
        os.environ["RAY_GCS_SERVER_PORT"] = str(_gcs_port)
    for start in range(1, STARTS + 1):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                logging_config=ray.LoggingConfig(log_level="ERROR"),
                **settings,
            )
        except Exception as error:
            ray.shutdown()
            if start == STARTS:
                raise RunError(f"Ray did not start: {error}") from error
            print(f"Ray did not start, trying again: {error}", file=sys.stderr, flush=True)  # noqa: T201
        else:
            break
    process.end_on_sigterm()  # Ray has put its own handler in place
