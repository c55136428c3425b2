"""A resource that is deleted takes with it all that was made for it, and leaves what it published."""

from collections.abc import Callable

import pytest

from tests.cluster.cluster import Cluster, Namespace, Object, eventually
from tests.cluster.work import evaluation, job, server

KINDS = (
    "Job",
    "Deployment",
    "StatefulSet",
    "Pod",
    "Service",
    "ConfigMap",
    "Secret",
    "ServiceAccount",
    "Role",
    "RoleBinding",
)
OURS = "app.kubernetes.io/managed-by=tunesmith"
# Pods have 15 seconds to end; on a busy cluster the garbage collector takes its time as well.
SECONDS = 120.0


def made(namespace: Namespace) -> list[str]:
    """Return what is there of what the operator has made."""
    return [f"{kind} {each['metadata']['name']}" for kind in KINDS for each in namespace.all(kind, OURS)]


def gone(namespace: Namespace) -> None:
    """Wait until nothing is left of what the operator has made."""
    left: list[str] = []

    def look() -> bool:
        left[:] = made(namespace)
        return not left

    try:
        eventually(look, "end of everything", SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}; left: {', '.join(left)}") from None


PHASES: dict[str, tuple[Object, Callable[[Namespace], object]]] = {
    "pending": (
        job(model={"uri": "finetunejob://other"}),
        lambda here: here.await_condition("FineTuneJob", "bot", "Reconciling", "ReferenceNotFound"),
    ),
    "unschedulable": (
        job(resources={"gpu": 7}),
        lambda here: here.await_condition("FineTuneJob", "bot", "Reconciling", "Unschedulable"),
    ),
    "running": (
        job(wanted={"seconds": 600}),
        lambda here: eventually(lambda: here.status("FineTuneJob", "bot").get("progress"), "progress"),
    ),
    "two workers": (
        job(wanted={"seconds": 600}, workers=2),
        lambda here: eventually(lambda: here.status("FineTuneJob", "bot").get("progress"), "progress"),
    ),
    "retrying": (
        job(wanted={"exit": 3}),
        lambda here: here.await_condition("FineTuneJob", "bot", "Reconciling", "Retrying"),
    ),
    "succeeded": (job(), lambda here: here.await_condition("FineTuneJob", "bot", "Succeeded")),
    "failed": (
        job(wanted={"exit": 3}, runPolicy={"maxAttempts": 1}),
        lambda here: here.await_condition("FineTuneJob", "bot", "Failed"),
    ),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_job_in_each_phase(operator: Cluster, namespace: Namespace, phase: str) -> None:
    resource, reached = PHASES[phase]
    namespace.apply(resource)
    reached(namespace)

    namespace.kubectl("delete", "ftj", "bot", "--wait=false")

    gone(namespace)


def test_a_server_and_its_evaluation(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(), evaluation(), server())
    namespace.await_condition("ModelServe", "bot", "Ready")

    namespace.kubectl("delete", "mserve,evj,ftj", "--all", "--wait=false")

    gone(namespace)


def test_the_published_model_stays(operator: Cluster, namespace: Namespace) -> None:
    namespace.claim("models")
    shelf = namespace.shelf("models")
    namespace.apply(job(wanted={"writes": "/volumes/models/bot.txt"}, output={"uri": "pvc://models/bot"}))
    namespace.await_condition("FineTuneJob", "bot", "Succeeded")

    namespace.kubectl("delete", "ftj", "bot")
    gone(namespace)

    assert shelf.run("cat", "/volumes/models/bot.txt") == "published"


def test_deleted_and_created_again_at_once(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(wanted={"seconds": 600}))
    eventually(lambda: namespace.status("FineTuneJob", "bot").get("progress"), "progress")

    namespace.kubectl("delete", "ftj", "bot")
    namespace.apply(job())

    namespace.await_condition("FineTuneJob", "bot", "Succeeded", seconds=SECONDS)
    assert len(namespace.status("FineTuneJob", "bot")["attempts"]) == 1
