"""The operator dies, again and again, and what it looks after does not notice."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, Namespace, Object, eventually
from tests.cluster.conftest import CHART, SYSTEM, await_operator, chart_values, kill_operator, operator_pods
from tests.cluster.work import evaluation, job, server

KILLS = 20


def names(objects: list[Object]) -> list[str]:
    return sorted(each["metadata"]["name"] for each in objects)


@pytest.fixture
def alone(operator: Cluster) -> Iterator[Cluster]:
    """An operator that need not wait for the Lease of the one before it: it can be killed while it works."""
    chart = ["upgrade", "tunesmith", str(CHART), "--namespace", SYSTEM, "--wait", "--timeout", "3m"]
    operator.helm(*chart, *chart_values(crds__keep="false", leaderElection__enabled="false"))
    yield operator
    operator.helm(*chart, *chart_values(crds__keep="false"))


def test_killed_twenty_times_it_ends_once_and_right(alone: Cluster, namespace: Namespace) -> None:
    dice = random.Random(1)
    namespace.apply(job(wanted={"seconds": 45}), evaluation(wanted={"seconds": 30}), server())
    met: set[str] = set()

    for _ in range(KILLS):
        await_operator(alone)
        # From before it has looked at anything to well after it has acted on it.
        time.sleep(dice.uniform(0, 4))
        met |= {
            f"{kind} {namespace.status(kind, 'bot').get('phase', 'new')}"
            for kind in ("FineTuneJob", "EvalJob", "ModelServe")
        }
        kill_operator(alone)
    namespace.await_condition("ModelServe", "bot", "Ready", seconds=120)

    for kind in ("FineTuneJob", "EvalJob"):
        status = namespace.status(kind, "bot")
        assert status["phase"] == "Succeeded"
        assert [(each["number"], each["reason"]) for each in status["attempts"]] == [(1, "Completed")]
    assert names(namespace.all("Job")) == ["bot-a1", "bot-e1"]
    assert names(namespace.all("Deployment")) == ["bot-v1"]
    assert names(namespace.all("ServiceAccount", "app.kubernetes.io/managed-by=tunesmith")) == [
        "bot-a1",
        "bot-e1",
        "bot-v1",
    ]
    assert met >= {"FineTuneJob Running", "FineTuneJob Succeeded", "EvalJob Pending", "ModelServe Pending"}, met


@pytest.fixture
def two_replicas(operator: Cluster) -> Cluster:
    chart = ["upgrade", "tunesmith", str(CHART), "--namespace", SYSTEM, "--wait", "--timeout", "3m"]
    operator.helm(*chart, *chart_values(crds__keep="false", replicas="2"))
    return operator


def leader(cluster: Cluster) -> str:
    lease = cluster.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/tunesmith-operator").json()
    holder = str(lease.get("spec", {}).get("holderIdentity") or "")
    return next((name for name in operator_pods(cluster) if holder.startswith(name)), "")


def test_the_other_replica_goes_on(two_replicas: Cluster, namespace: Namespace) -> None:
    first = eventually(lambda: leader(two_replicas), "leader", 60)

    two_replicas.kubectl("-n", SYSTEM, "delete", "pod", first, "--grace-period=0", "--force", "--wait=false")
    namespace.apply(job())
    eventually(lambda: namespace.status("FineTuneJob", "bot").get("phase"), "status by the next leader", 30)

    assert leader(two_replicas) not in {"", first}
    namespace.await_condition("FineTuneJob", "bot", "Succeeded")


def test_an_upgrade_leaves_a_running_job_alone(operator: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    operator.helm("package", str(CHART), "--version", "0.0.9", "--destination", str(tmp_path))
    upgrade = ["upgrade", "tunesmith", "--namespace", SYSTEM, "--wait", "--timeout", "3m"]
    previous = [*upgrade, str(tmp_path / "tunesmith-0.0.9.tgz"), *chart_values(crds__keep="false")]
    operator.helm(*previous)
    namespace.apply(job(wanted={"seconds": 30}))
    eventually(lambda: namespace.status("FineTuneJob", "bot").get("progress", {}).get("step"), "training")
    (pod,) = namespace.all("Pod")

    operator.helm(*upgrade, str(CHART), *chart_values(crds__keep="false", log__level="debug"))

    namespace.await_condition("FineTuneJob", "bot", "Succeeded")
    assert [each["metadata"]["uid"] for each in namespace.all("Pod")] == [pod["metadata"]["uid"]]
    assert len(namespace.status("FineTuneJob", "bot")["attempts"]) == 1
