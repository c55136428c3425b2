"""Processes of the cluster's one node, found by the pod that they belong to, and killed as SIGKILL does."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tools.programs import FOLDER

from tests.cluster.chaos.schedule import Victim
from tests.cluster.cluster import HARNESS, Cluster, Namespace, Object, eventually
from tests.cluster.conftest import SYSTEM

SCRIPT = Path(__file__).parents[1] / "harness" / "cluster"
# What the processes of a run look like in /proc.
_COMMANDS = {"driver": "tunesmith_runtime", "raylet": "raylet/raylet", "gcs": "gcs/gcs_server"}


@dataclass(frozen=True)
class Run:
    """The pods of a FineTuneJob."""

    namespace: Namespace
    job: str

    def pods(self, role: str | None = None) -> list[Object]:
        """Return the pods that are there and not about to go; of the workers or the driver only, if `role` says so."""
        labels = f"tunesmith.dev/owner={self.job}" + (f",tunesmith.dev/role={role}" if role else "")
        return [
            pod
            for pod in self.namespace.all("Pod", labels)
            if not pod["metadata"].get("deletionTimestamp") and pod["status"].get("phase") in {"Pending", "Running"}
        ]


def kill(victim: Victim, run: Run) -> str:
    """Kill a victim as soon as it is there; return what it was."""
    cluster = run.namespace.cluster
    if victim == "api server":
        return _kill_of_harness("apiserver")
    if victim == "etcd":
        return _kill_of_harness("etcd")
    if victim == "operator":
        return _kill_pod(cluster, _one_of(cluster.all("Pod", SYSTEM, "app.kubernetes.io/name=tunesmith")))
    if victim == "head":
        return _kill_pod(cluster, _first(run, "driver"))
    if victim == "worker":
        return _kill_pod(cluster, _first(run, "worker"))
    pod = _first(run, "driver")
    process = eventually(lambda: next(_processes(pod, _COMMANDS[victim]), None), f"{victim} of {_name(pod)}", 90)
    os.kill(process, signal.SIGKILL)
    return f"process {process} of pod {_name(pod)}"


def _first(run: Run, role: str) -> Object:
    pods = eventually(lambda: run.pods(role), f"pod of the {role}", 60)
    eventually(lambda: next(_processes(pods[0], ""), None), f"process of pod {_name(pods[0])}", 60)
    return pods[0]


def _one_of(pods: list[Object]) -> Object:
    return next(pod for pod in pods if not pod["metadata"].get("deletionTimestamp"))


def _kill_pod(cluster: Cluster, pod: Object) -> str:
    """Kill all that runs in a pod, and take the pod away as a node that is gone does."""
    for process in _processes(pod, ""):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    namespace = pod["metadata"]["namespace"]
    cluster.kubectl(
        "-n", namespace, "delete", "pod", _name(pod), "--grace-period=0", "--force", "--wait=false", check=False
    )
    return f"pod {_name(pod)}"


def _processes(pod: Object, command: str) -> Iterator[int]:
    """Yield the numbers of a pod's processes whose command line holds a text; the pod's own sandbox is left out."""
    uid = pod["metadata"]["uid"]
    marks = (f"pod{uid}", f"pod{uid.replace('-', '_')}")
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            groups = (folder / "cgroup").read_text()
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if any(mark in groups for mark in marks) and command in line and line and not line.startswith("/pause"):
                yield int(folder.name)


def _kill_of_harness(name: str) -> str:
    """Kill a part of the control plane and start it again, as what looks after it does on a real one."""
    process = int((HARNESS / "pid" / name).read_text())
    os.kill(process, signal.SIGKILL)
    environment = {**os.environ, "KUBECTL": str(FOLDER / "kubectl")}
    subprocess.run([str(SCRIPT), "up"], env=environment, check=True, capture_output=True, timeout=180)
    return f"process {process}"


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
