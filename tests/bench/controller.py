"""How much the operator costs: `make bench-operator` on the cluster of KUBECONFIG or of `make cluster-up`.

The operator runs as a process of this machine, so that its CPU time and memory can be read. The jobs ask for GPUs that
no node has: their pods wait, and what is measured is the operator and the API server. Prints figures; asserts nothing.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import psutil
import requests

from tests.cluster.cluster import HARNESS, Cluster
from tests.cluster.work import job
from tunesmith_operator.controller.client import RESOURCES

JOBS = int(os.environ.get("BENCH_JOBS", "1000"))
IDLE = int(os.environ.get("BENCH_IDLE", "2000"))
IDLE_SECONDS = int(os.environ.get("BENCH_SECONDS", "60"))
LATENCIES = min(200, JOBS)
PORT = 18099
CRDS = Path(__file__).parents[2] / "crds"


def main() -> None:
    """Measure, and print a table."""
    cluster = Cluster(os.environ.get("KUBECONFIG", str(HARNESS / "admin.kubeconfig")))
    cluster.kubectl("apply", "--validate=false", "-f", str(CRDS))
    namespace = f"bench-{uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", namespace)
    rows: list[tuple[str, str]] = []
    try:
        with operator(cluster, namespace) as process:
            rows += many_at_once(cluster, namespace, process)
            rows += latency(cluster, namespace)
        create(cluster, namespace, IDLE - JOBS, first=JOBS)
        with operator(cluster, namespace) as process:
            rows += idle(cluster, namespace, process)
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name.ljust(width)}  {value}" for name, value in rows))


@contextmanager
def operator(cluster: Cluster, namespace: str) -> Iterator[psutil.Process]:
    """An operator for one namespace, as a process of this machine."""
    command = [
        sys.executable, "-m", "tunesmith_operator", "--namespace", namespace, "--port", str(PORT),
        "--no-leader-election", "--log-level", "warning",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=os.environ | {"KUBECONFIG": cluster.kubeconfig}, stderr=log)
        until(ready)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def ready() -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{PORT}/readyz", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def many_at_once(cluster: Cluster, namespace: str, process: psutil.Process) -> list[tuple[str, str]]:
    """JOBS FineTuneJobs at once: how long until each has its children, and at what price."""
    requests_before, cpu_before = sent(), cpu(process)
    began = time.monotonic()
    create(cluster, namespace, JOBS)
    created = time.monotonic() - began
    until(lambda: len(cluster.all("Job", namespace)) >= JOBS, seconds=900)
    took = time.monotonic() - began
    until(quiet, seconds=300)
    peak = process.memory_info().rss
    return [
        (f"{JOBS} FineTuneJobs: seconds to create them", f"{created:.1f}"),
        ("seconds until every Job is there", f"{took:.1f}"),
        ("API requests of the operator per FineTuneJob", f"{(sent() - requests_before) / JOBS:.1f}"),
        ("operator CPU seconds, all told", f"{cpu(process) - cpu_before:.1f}"),
        ("operator CPU milliseconds per FineTuneJob", f"{1000 * (cpu(process) - cpu_before) / JOBS:.1f}"),
        ("operator memory, MiB", f"{peak / 2**20:.0f}"),
    ]


def latency(cluster: Cluster, namespace: str) -> list[tuple[str, str]]:
    """From a run's report in its ConfigMap to the status of its FineTuneJob."""
    taken = []
    for number in range(LATENCIES):
        name = f"bench-{number}"
        document = {"version": 1, "state": "Running", "training": {"step": number + 1, "totalSteps": 1000}}
        patch = json.dumps({"data": {"progress.json": json.dumps(document)}})
        path = RESOURCES["ConfigMap"].path(namespace, f"{name}-a1-progress")
        began = time.monotonic()
        answer = cluster._session.patch(
            f"{cluster._loaded.host}{path}", data=patch, headers={"Content-Type": "application/merge-patch+json"}
        )
        answer.raise_for_status()
        until(partial(has_step, cluster, namespace, name, number + 1), pause=0.002)
        taken.append(time.monotonic() - began)
    cut = statistics.quantiles(taken, n=100)
    return [
        (f"child's event to status, ms, p50 of {LATENCIES}", f"{1000 * cut[49]:.0f}"),
        ("child's event to status, ms, p99", f"{1000 * cut[98]:.0f}"),
    ]


def has_step(cluster: Cluster, namespace: str, name: str, wanted: int) -> bool:
    status = (cluster.get("FineTuneJob", namespace, name) or {}).get("status") or {}
    return bool((status.get("progress") or {}).get("step") == wanted)


def idle(cluster: Cluster, namespace: str, process: psutil.Process) -> list[tuple[str, str]]:
    """What IDLE resources cost that nothing happens to."""
    until(lambda: len(cluster.all("Job", namespace)) >= IDLE, seconds=900)
    until(quiet, seconds=300)
    cpu_before, requests_before = cpu(process), sent()
    time.sleep(IDLE_SECONDS)
    return [
        (f"{IDLE} idle FineTuneJobs: CPU seconds in {IDLE_SECONDS} s", f"{cpu(process) - cpu_before:.2f}"),
        ("API requests in that time", f"{sent() - requests_before:.0f}"),
        ("operator memory, MiB, with them", f"{process.memory_info().rss / 2**20:.0f}"),
    ]


def create(cluster: Cluster, namespace: str, count: int, first: int = 0) -> None:
    """Create FineTuneJobs as fast as the API server takes them."""

    def one(number: int) -> None:
        resource = job(f"bench-{number}", resources={"gpu": 64})
        resource["metadata"]["namespace"] = namespace
        answer = cluster.create(resource)
        assert answer.status_code == 201, answer.text

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(first, first + count)))


def measured() -> dict[str, float]:
    """Return the operator's metrics, summed over their labels."""
    sums: dict[str, float] = {}
    for line in requests.get(f"http://127.0.0.1:{PORT}/metrics", timeout=10).text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            name = name.partition("{")[0]
            sums[name] = sums.get(name, 0) + float(value)
    return sums


def sent() -> float:
    return measured()["rest_client_requests_total"]


def quiet() -> bool:
    """Return whether the queue has been empty for a moment."""
    before = measured()
    time.sleep(3)
    after = measured()
    same = before["controller_runtime_reconcile_total"] == after["controller_runtime_reconcile_total"]
    return same and after["workqueue_depth"] == 0


def cpu(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


def until(look: Callable[[], object], seconds: float = 120, pause: float = 0.5) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise SystemExit("bench: the operator did not get there in time")
        time.sleep(pause)


if __name__ == "__main__":
    main()
