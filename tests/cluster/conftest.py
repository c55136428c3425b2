"""The cluster, the operator in it, and a fresh namespace for each test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster.cluster import HARNESS, REGISTRY, TAG, Cluster, Namespace, eventually

SYSTEM = "tunesmith-system"
CHART = Path(__file__).parents[2] / "charts" / "tunesmith"


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of $KUBECONFIG, or that of `make cluster-up`."""
    kubeconfig = os.environ.get("KUBECONFIG", str(HARNESS / "admin.kubeconfig"))
    assert Path(kubeconfig).exists(), f"there is no {kubeconfig}: run `make cluster-up`, or set KUBECONFIG"
    return Cluster(kubeconfig)


def chart_values(**values: str) -> list[str]:
    """Return Helm's arguments for the images of these tests, and more."""
    ours = {
        "image.repository": f"{REGISTRY}/operator",
        "image.tag": TAG,
        "runtime.image.repository": f"{REGISTRY}/runtime",
        "runtime.image.tag": TAG,
    }
    given = ours | {name.replace("__", "."): value for name, value in values.items()}
    return [argument for name, value in given.items() for argument in ("--set", f"{name}={value}")]


@pytest.fixture(scope="session")
def operator(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with the operator installed by Helm, for as long as the tests run."""
    cluster.helm(
        "upgrade", "--install", "tunesmith", str(CHART), "--namespace", SYSTEM, "--create-namespace",
        "--take-ownership", "--wait", "--timeout", "3m", *chart_values(crds__keep="false", allowTaskCode="true"),
    )  # fmt: skip
    yield cluster
    cluster.helm("uninstall", "tunesmith", "--namespace", SYSTEM, "--wait")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace that is gone after the test, with its volumes."""
    with fresh_namespace(cluster) as made:
        yield made


@contextmanager
def fresh_namespace(cluster: Cluster) -> Iterator[Namespace]:
    """Make a namespace that goes in the end, with its volumes."""
    name = f"test-{uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield Namespace(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
    volumes = [f"{name}-{claim}" for claim in ("data", "models", "reports", "checkpoints")]
    cluster.kubectl("delete", "persistentvolume", *volumes, "--ignore-not-found", "--wait=false")


def operator_pods(cluster: Cluster) -> list[str]:
    """Return the names of the operator's pods that run."""
    pods = cluster.all("Pod", SYSTEM, "app.kubernetes.io/name=tunesmith")
    return [pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")]


def kill_operator(cluster: Cluster) -> None:
    """End the operator as SIGKILL does, without a moment for cleaning up."""
    for name in operator_pods(cluster):
        cluster.kubectl("--namespace", SYSTEM, "delete", "pod", name, "--grace-period=0", "--force", "--wait=false")


def await_operator(cluster: Cluster) -> None:
    """Wait until an operator is ready."""

    def ready() -> bool:
        pods = cluster.all("Pod", SYSTEM, "app.kubernetes.io/name=tunesmith")
        conditions = [each for pod in pods for each in pod["status"].get("conditions") or ()]
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    eventually(ready, "operator that is ready", 60)
