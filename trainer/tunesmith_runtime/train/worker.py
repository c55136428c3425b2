"""A worker pod: waits for the head of its run, lends it this pod, and ends when the head is gone."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

from tunesmith_api.contract import RAY_ADDRESS_VARIABLE, RunConfig, TrainRun
from tunesmith_api.placement import OBJECT_STORE_BYTES, devices
from tunesmith_runtime import process
from tunesmith_runtime.errors import ConfigError, RunError
from tunesmith_runtime.train import environment
from tunesmith_runtime.train.address import HeadAddress, pod_ip
from tunesmith_runtime.train.recovery.pod import PodFiles

POLL_SECONDS = 1.0
# How long the head may not answer before it counts as gone.
GONE_SECONDS = 5.0
# Ray can fail to start on a busy machine.
STARTS = 5
STOP_SECONDS = 3.0


def join(config: RunConfig) -> int:
    """Lend this pod to the run; return the exit code once the run's head is gone."""
    try:
        if not isinstance(config, TrainRun):
            raise ConfigError(f"a run of type {config.type} has no workers")
        head = HeadAddress.from_environment()
        if head is None:
            raise ConfigError(f"a worker needs ${RAY_ADDRESS_VARIABLE}, the address of its run's head")
        environment.prepare(config)
        pod = PodFiles.of(config.run)
        pod.clear()
        with process.finishing(pod.ask_to_end, config.limits.grace_seconds):
            _join(config, head, pod)
    except RunError as error:
        print(f"error: {error.message}", file=sys.stderr, flush=True)  # noqa: T201 - the pod's log
        process.leave_last_words(error.message)
        return 1
    return 0


def _join(config: TrainRun, head: HeadAddress, pod: PodFiles) -> None:
    _say(f"waiting for the head at {head}")
    while not head.answers():
        time.sleep(POLL_SECONDS)
    for _ in range(STARTS):
        _say(f"joining {head}")
        code = _lend(config, head, pod)
        if process.is_ending():
            _say("told to end: this pod's part of a checkpoint is saved")
            return
        if code is None:
            _say("the head is gone: nothing is left to do")
            return
        _say(f"Ray ended with exit code {code}; starting it again")
        time.sleep(POLL_SECONDS)
    raise RunError(f"Ray did not stay up beside the head at {head}: it was started {STARTS} times")


def _lend(config: TrainRun, head: HeadAddress, pod: PodFiles) -> int | None:
    """Run Ray until it ends or the head is gone; return its exit code, or None when the head is gone.

    When the pod is told to end, while training can still save a checkpoint, Ray runs until that is done.
    """
    # A process group of its own, so that all of Ray can be ended, and nothing else.
    ray = subprocess.Popen(_command(config, head), process_group=0)
    try:
        seen = time.monotonic()
        while time.monotonic() - seen < GONE_SECONDS:
            if process.is_ending() and not pod.trains():
                return None
            if (code := ray.poll()) is not None:
                return code if head.answers() else None
            if head.answers():
                seen = time.monotonic()
            time.sleep(POLL_SECONDS)
        return None
    finally:
        _stop(ray)


def _command(config: TrainRun, head: HeadAddress) -> list[str]:
    address = pod_ip()
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
        f"--address={head}",
        # By this name the driver knows which workers are there. A host name is cut off after 63 characters.
        f"--node-name={os.environ.get('POD_NAME') or os.environ.get('HOSTNAME') or socket.gethostname()}",
        *([f"--node-ip-address={address}"] if address else []),
        f"--num-cpus={devices(config)}",
        f"--num-gpus={config.gpus}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
    ]


def _stop(ray: "subprocess.Popen[bytes]") -> None:
    _signal(ray, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        ray.wait(STOP_SECONDS)
    _signal(ray, signal.SIGKILL)
    ray.wait()


def _signal(ray: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(ray.pid, number)


def _say(sentence: str) -> None:
    print(sentence, flush=True)  # noqa: T201 - the pod's log
