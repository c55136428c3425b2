"""What people rely on holds whatever runs the pods: the native backend, and KubeRay, whose part a test plays."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, Namespace, Object, Shelf, eventually
from tests.cluster.conftest import await_operator, kill_operator
from tests.cluster.kuberay import KubeRay
from tests.cluster.test_thread import MINUTES, shelf, story
from tests.cluster.work import job

__all__ = ["shelf"]
BACKENDS = ["native", "kuberay"]
STARTERS = {"native": "Job", "kuberay": "RayJob"}
# Every kind that an attempt leaves behind if it is not careful.
KINDS = ("Job", "RayJob", "StatefulSet", "Pod", "Service", "ConfigMap", "ServiceAccount", "Role", "RoleBinding")
OURS = "app.kubernetes.io/managed-by=tunesmith"


@pytest.fixture(scope="module")
def kuberay(operator: Cluster) -> Iterator[KubeRay]:
    """A cluster that has RayJobs, and an operator that knows it from its start."""
    played = KubeRay(operator)
    with played.running():
        kill_operator(operator)
        await_operator(operator)
        yield played
    kill_operator(operator)
    await_operator(operator)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, kuberay: KubeRay) -> str:
    """The name of a backend."""
    return str(request.param)


def spread(backend: str, wanted: dict[str, Any] | None = None, **spec: Any) -> Object:
    """Return a FineTuneJob of two workers."""
    return job(wanted=wanted, workers=2, backend=backend, **spec)


def pods(namespace: Namespace, role: str, attempt: int = 1) -> list[Object]:
    labels = f"app.kubernetes.io/instance=bot-a{attempt},tunesmith.dev/role={role}"
    return [pod for pod in namespace.all("Pod", labels) if not pod["metadata"].get("deletionTimestamp")]


def await_runs(namespace: Namespace, attempt: int = 1) -> tuple[Object, Object]:
    """Wait until the driver and the worker run; return them."""

    def look() -> tuple[Object, Object] | None:
        found = [*pods(namespace, "driver", attempt), *pods(namespace, "worker", attempt)]
        running = [pod for pod in found if pod["status"]["phase"] == "Running"]
        return (running[0], running[1]) if len(running) == 2 else None

    return eventually(look, "driver and worker that run", 90)


def deployment(namespace: Namespace) -> str:
    """Return what KubeRay says of the only RayJob."""
    (ray_job,) = namespace.all("RayJob", OURS)
    return str(ray_job.get("status", {}).get("jobDeploymentStatus", ""))


def lose(namespace: Namespace, pod: Object) -> None:
    """Have a pod vanish as it does with its node."""
    name = pod["metadata"]["name"]
    namespace.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")


def test_it_starts_reports_and_ends_well(namespace: Namespace, backend: str) -> None:
    namespace.apply(spread(backend, {"seconds": 8}))
    await_runs(namespace)
    assert [each["metadata"]["name"] for each in namespace.all(STARTERS[backend], OURS)] == ["bot-a1"]
    eventually(
        lambda: 0 < namespace.status("FineTuneJob", "bot").get("progress", {}).get("percent", 0) < 100, "progress"
    )

    namespace.await_condition("FineTuneJob", "bot", "Succeeded")

    status = namespace.status("FineTuneJob", "bot")
    assert status["progress"]["percent"] == 100
    assert [each["reason"] for each in status["attempts"]] == ["Completed"]
    eventually(lambda: not pods(namespace, "worker"), "end of the worker")


def test_it_fails_for_the_reason_that_it_says(namespace: Namespace, backend: str) -> None:
    failure = {"reason": "DataInvalid", "message": "train.jsonl:3 is not JSON", "retryable": False}
    namespace.apply(spread(backend, {"failure": failure}))

    failed = namespace.await_condition("FineTuneJob", "bot", "Failed", "DataInvalid")

    assert failed["message"] == "train.jsonl:3 is not JSON"
    assert len(namespace.status("FineTuneJob", "bot")["attempts"]) == 1


def test_a_crash_is_tried_again_and_then_given_up(namespace: Namespace, backend: str) -> None:
    namespace.apply(spread(backend, {"exit": 3}, runPolicy={"maxAttempts": 2}))

    failed = namespace.await_condition("FineTuneJob", "bot", "Failed", "Crashed", seconds=120)

    assert "exit code 3" in failed["message"]
    assert [each["metadata"]["name"] for each in namespace.all(STARTERS[backend], OURS)] == ["bot-a1", "bot-a2"]


def test_it_is_deleted_without_a_trace(namespace: Namespace, backend: str) -> None:
    namespace.apply(spread(backend, {"seconds": 60}))
    await_runs(namespace)

    namespace.kubectl("delete", "ftj", "bot")

    def left() -> list[str]:
        found = [(kind, each) for kind in KINDS for each in namespace.all(kind, OURS)]
        return [f"{kind} {each['metadata']['name']}" for kind, each in found]

    eventually(lambda: not left(), "end of all children", 90)
    # KubeRay's own, too.
    eventually(lambda: not namespace.all("Service", "ray.io/cluster"), "end of KubeRay's Service")
    eventually(lambda: not namespace.all("Secret", OURS), "end of the token")


def test_a_worker_that_is_lost_comes_back_within_the_attempt(namespace: Namespace, backend: str) -> None:
    namespace.apply(spread(backend, {"seconds": 25}))
    _, worker = await_runs(namespace)

    lose(namespace, worker)

    def is_back() -> bool:
        return any(
            pod["metadata"]["uid"] != worker["metadata"]["uid"] and pod["status"]["phase"] == "Running"
            for pod in pods(namespace, "worker")
        )

    eventually(is_back, "another worker", 60)
    namespace.await_condition("FineTuneJob", "bot", "Succeeded", seconds=90)
    assert len(namespace.status("FineTuneJob", "bot")["attempts"]) == 1


def test_a_driver_that_is_lost_is_replaced(namespace: Namespace, backend: str) -> None:
    namespace.apply(spread(backend, {"seconds": 15}))
    driver, _ = await_runs(namespace)
    if backend == "kuberay":  # before it has said that all runs, KubeRay itself makes a lost head again
        eventually(lambda: deployment(namespace) == "Running", "RayJob that runs")

    lose(namespace, driver)

    def others() -> list[str]:
        found = [pod["metadata"]["uid"] for attempt in (1, 2) for pod in pods(namespace, "driver", attempt)]
        return [uid for uid in found if uid != driver["metadata"]["uid"]]

    eventually(others, "another driver", 90)
    namespace.await_condition("FineTuneJob", "bot", "Succeeded", seconds=150)
    attempts = namespace.status("FineTuneJob", "bot")["attempts"]
    # A Job of an old Kubernetes starts another pod itself when one was deleted, within the attempt.
    assert [each["number"] for each in attempts] == [1, 2][: len(attempts)]
    assert backend == "native" or len(attempts) == 2
    assert attempts[-1]["reason"] == "Completed"


def test_pods_that_no_node_can_take_say_so(namespace: Namespace, backend: str) -> None:
    namespace.apply(spread(backend, resources={"gpu": 7}))

    waits = namespace.await_condition("FineTuneJob", "bot", "Reconciling", "Unschedulable")

    assert "nvidia.com/gpu" in waits["message"]


def test_an_attempt_stays_on_the_backend_that_it_began_on(namespace: Namespace, kuberay: KubeRay) -> None:
    namespace.apply(spread("kuberay", {"seconds": 15, "exit": 0}))
    await_runs(namespace)

    namespace.apply(spread("native", {"seconds": 15, "exit": 0}))
    namespace.await_condition("FineTuneJob", "bot", "Succeeded", seconds=90)

    assert namespace.all("Job", OURS) == []


def test_the_restricted_standard_is_kept(namespace: Namespace, kuberay: KubeRay) -> None:
    namespace.apply(spread("kuberay", {"seconds": 10}))
    for pod in await_runs(namespace):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_two_pods_of_kuberay_train(namespace: Namespace, kuberay: KubeRay, shelf: Shelf) -> None:
    """The real runtime joins the Ray that is there."""
    spec: dict[str, Any] = {
        "model": {"uri": "pvc://models/SmolLM2-135M-Instruct"},
        "data": {
            "train": [{"name": "answers", "uri": "pvc://data/train.jsonl", "format": "messages"}],
            "maxLength": 128,
        },
        "method": {"adapter": {"type": "full"}},
        "training": {"maxSteps": 10, "learningRate": 1e-3, "perDeviceTrainBatchSize": 4},
        "output": {"uri": "pvc://models/bot"},
        "podTemplate": {},
        "runPolicy": {"maxAttempts": 1},
    }
    namespace.apply(spread("kuberay", **spec))

    namespace.kubectl("wait", "--for=condition=Succeeded", "ftj/bot", f"--timeout={5 * MINUTES}s", check=False)

    status = namespace.status("FineTuneJob", "bot")
    assert status.get("phase") == "Succeeded", story(namespace)
    assert status["progress"]["step"] == 10
