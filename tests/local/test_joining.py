"""A run in a Ray cluster that somebody else has started, as KubeRay does in its pods."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.local.home import until
from tests.local.pods import STOP_SECONDS, Pods, ended
from tests.local.test_multinode import DEADLINE_SECONDS, STEPS, run_config, volumes
from tunesmith_runtime.train.address import HeadAddress

__all__ = ["volumes"]
# On a busy machine Ray gives up on itself half a minute after its start; a pod would start it again.
STARTS = 5
STARTED = "Ray runtime started."
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 2}


@contextmanager
def ray(pods: Pods, pod: str, address: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start Ray as KubeRay does, by a command of its own in the environment of the pod, and wait until it is there."""
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
        *("--num-cpus=1", "--num-gpus=0", f"--object-store-memory={100 * 1024 * 1024}"),
        *(f"--node-ip-address={address}", *arguments),
    ]
    log = pods.log_file(f"{pods.name}-a1-{pod}")
    own = {"HOME": str(pods.folder), "POD_NAME": pod, "TUNESMITH_VOLUMES": str(pods.folder)}
    environment = {**os.environ, **TOKEN, **own}
    for _ in range(STARTS):
        with log.open("wb") as output:
            started = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        with ended(started):
            until(partial(_has_settled, started, log), DEADLINE_SECONDS)
            if started.poll() is None:
                yield started
                return
    raise AssertionError(pods.logs())


def _has_settled(started: "subprocess.Popen[bytes]", log: Path) -> bool:
    return STARTED in log.read_text() or started.poll() is not None


def test_the_driver_joins_the_cluster_and_trains_on_all_of_it(volumes: Path) -> None:
    config = run_config("joined", workers=2, batch=2)
    own = {**TOKEN, "TUNESMITH_RAY_JOIN": "1"}
    pods = Pods(volumes, config, own, apart=False)
    own["RAY_ADDRESS"] = head = f"127.0.0.2:{pods.port}"

    with (
        ray(pods, "head", "127.0.0.2", "--head", f"--port={pods.port}", "--include-dashboard=false"),
        pods.head() as driver,
    ):
        until(lambda: "workers" in pods.progress().stage or driver.poll() is not None, DEADLINE_SECONDS)
        assert pods.progress().stage == "waiting for workers: 1 of 1 is missing", pods.logs()
        with ray(pods, "worker", "127.0.0.3", f"--address={head}"):
            assert driver.wait(DEADLINE_SECONDS) == 0, pods.logs()

    document = pods.progress()
    assert document.training is not None
    assert document.training.step == STEPS
    assert (volumes / "models" / "joined").is_dir()
    assert {each.name for each in document.training.nodes} == {"head", "worker"}
    until(lambda: not HeadAddress("127.0.0.2", pods.port).answers(), STOP_SECONDS)
