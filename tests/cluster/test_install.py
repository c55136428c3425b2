"""Installing, upgrading and uninstalling, as the one who does it sees it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, Namespace, eventually
from tests.cluster.conftest import CHART, SYSTEM, chart_values
from tests.cluster.work import job

CRDS = Path(__file__).parents[2] / "crds"
READY = f"/api/v1/namespaces/{SYSTEM}/services/tunesmith-operator:http/proxy/readyz"
METRICS = f"/api/v1/namespaces/{SYSTEM}/services/tunesmith-operator:http/proxy/metrics"


def install(cluster: Cluster, *arguments: str, **values: str) -> None:
    command = ["upgrade", "--install", "tunesmith", str(CHART), "--namespace", SYSTEM, "--create-namespace"]
    cluster.helm(*command, "--timeout", "3m", *arguments, *chart_values(**values))


def answer_with(cluster: Cluster, path: str, part: str) -> str | None:
    text = cluster.request("GET", path).text
    return text if part in text else None


def delete_kinds(cluster: Cluster) -> None:
    for kind in ("finetunejobs", "evaljobs", "modelserves"):
        cluster.kubectl("delete", "crd", f"{kind}.tunesmith.dev", "--ignore-not-found", "--timeout=60s")


@pytest.fixture
def installed(operator: Cluster) -> Iterator[Cluster]:
    """The operator's cluster; afterwards it is as the other tests want it."""
    yield operator
    operator.helm("uninstall", "tunesmith", "--namespace", SYSTEM, "--wait", check=False)
    delete_kinds(operator)
    install(operator, "--wait", crds__keep="false")


def test_helm_test_asks_the_operator_how_it_is(operator: Cluster) -> None:
    said = operator.helm("test", "tunesmith", "--namespace", SYSTEM, "--logs")
    assert "Succeeded" in said


def test_what_prometheus_reads(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job())
    namespace.await_condition("FineTuneJob", "bot", "Succeeded")
    phase = f'tunesmith_resources{{kind="FineTuneJob",namespace="{namespace.name}",phase="Succeeded"}} 1.0'

    seen: str = eventually(lambda: answer_with(operator, METRICS, phase), "phase of the resource")

    for metric in (
        'workqueue_depth{name="tunesmith"}',
        'workqueue_queue_duration_seconds_count{name="tunesmith"}',
        'controller_runtime_reconcile_total{controller="FineTuneJob",result="success"}',
        'rest_client_requests_total{code="200",method="GET"}',
        'leader_election_master_status{name="tunesmith-operator"} 1.0',
    ):
        assert metric in seen


def test_uninstalling_keeps_kinds_and_resources_when_asked(installed: Cluster, namespace: Namespace) -> None:
    install(installed, "--wait", crds__keep="true")
    namespace.apply(job())
    namespace.await_condition("FineTuneJob", "bot", "Succeeded")

    installed.helm("uninstall", "tunesmith", "--namespace", SYSTEM, "--wait")

    assert namespace.status("FineTuneJob", "bot")["phase"] == "Succeeded"
    assert installed.all("Deployment", SYSTEM) == []


def test_an_operator_without_its_kinds_says_so_and_waits(installed: Cluster, namespace: Namespace) -> None:
    installed.helm("uninstall", "tunesmith", "--namespace", SYSTEM, "--wait")
    delete_kinds(installed)
    install(installed, crds__enabled="false")

    said: str = eventually(lambda: answer_with(installed, READY, "not installed"), "complaint")
    assert "finetunejobs.tunesmith.dev, evaljobs.tunesmith.dev, modelserves.tunesmith.dev is not installed" in said
    assert "apply the crds/ of this version" in said

    installed.kubectl("create", "--validate=false", "-f", str(CRDS))
    kinds = ("api-resources", "--api-group=tunesmith.dev", "--output=name")
    eventually(lambda: "finetunejobs" in installed.kubectl(*kinds), "kinds")
    namespace.apply(job())
    namespace.await_condition("FineTuneJob", "bot", "Succeeded", seconds=90)


def test_an_operator_of_one_namespace_leaves_the_others_alone(
    installed: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    other = Namespace(installed, "default")
    install(installed, "--wait", crds__keep="false", watchNamespaces=f"{{{namespace.name}}}")
    other.apply(job("left-alone"))
    namespace.apply(job())

    namespace.await_condition("FineTuneJob", "bot", "Succeeded")

    assert other.status("FineTuneJob", "left-alone") == {}
    other.kubectl("delete", "ftj", "left-alone")
