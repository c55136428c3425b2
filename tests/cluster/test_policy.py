"""runPolicy on a cluster: suspended and resumed, overdue, deleted after its end; and what hands can do to a run."""

import json

from tests.cluster.cluster import Cluster, Namespace, Object, eventually
from tests.cluster.work import job

# Pods have 30 seconds to end; on a busy cluster the garbage collector takes its time as well.
SECONDS = 120.0


def trains(namespace: Namespace, attempt: int = 1) -> None:
    """Wait until an attempt trains."""

    def there() -> bool:
        status = namespace.status("FineTuneJob", "bot")
        return bool(status.get("attempt") == attempt and status["attempts"][-1].get("toStep") is not None)

    eventually(there, f"training of attempt {attempt} ({namespace.told('FineTuneJob', 'bot')})", SECONDS)


def policy(namespace: Namespace, **changes: object) -> None:
    body = json.dumps({"spec": {"runPolicy": changes}})
    namespace.kubectl("patch", "finetunejob", "bot", "--type=merge", "-p", body)


def reasons(namespace: Namespace) -> list[str | None]:
    return [each.get("reason") for each in namespace.status("FineTuneJob", "bot")["attempts"]]


def alive(namespace: Namespace) -> list[Object]:
    pods = namespace.all("Pod", "app.kubernetes.io/managed-by=tunesmith")
    return [each for each in pods if each["status"]["phase"] in {"Pending", "Running"}]


def test_suspended_it_frees_its_pods_and_resumed_it_ends(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(wanted={"seconds": 30}))
    trains(namespace)

    policy(namespace, suspend=True)
    namespace.await_condition("FineTuneJob", "bot", "Suspended", seconds=SECONDS)
    assert alive(namespace) == []
    assert namespace.status("FineTuneJob", "bot")["phase"] == "Suspended"

    policy(namespace, suspend=False)
    namespace.await_condition("FineTuneJob", "bot", "Succeeded", seconds=SECONDS)
    assert reasons(namespace) == ["Suspended", "Completed"]


def test_overdue_it_is_ended_and_has_failed(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(wanted={"seconds": 600}, runPolicy={"activeDeadlineSeconds": 20}))

    namespace.await_condition("FineTuneJob", "bot", "Failed", "DeadlineExceeded", seconds=SECONDS)

    assert alive(namespace) == []
    assert reasons(namespace) == ["DeadlineExceeded"]


def test_some_time_after_its_end_it_is_gone(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(runPolicy={"ttlSecondsAfterFinished": 15}))
    namespace.await_condition("FineTuneJob", "bot", "Succeeded", seconds=SECONDS)
    eventually(lambda: namespace.get("FineTuneJob", "bot") is None, "deletion of the job", SECONDS)


def test_a_job_deleted_by_hand_is_followed_by_another_attempt(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(wanted={"seconds": 20}))
    trains(namespace)

    namespace.kubectl("delete", "job", "bot-a1")

    namespace.await_condition("FineTuneJob", "bot", "Succeeded", seconds=SECONDS)
    assert len(reasons(namespace)) == 2
    assert reasons(namespace)[-1] == "Completed"


def test_a_status_that_was_emptied_is_found_again(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(wanted={"seconds": 30}))
    trains(namespace)
    (pod,) = alive(namespace)
    there = namespace.get("FineTuneJob", "bot")
    assert there is not None
    path = f"/apis/tunesmith.dev/v1alpha1/namespaces/{namespace.name}/finetunejobs/bot/status"
    assert operator.request("PUT", path, {**there, "status": {}}).status_code in {200, 409}

    namespace.await_condition("FineTuneJob", "bot", "Succeeded", seconds=SECONDS)

    assert reasons(namespace) == ["Completed"]
    assert [each["metadata"]["uid"] for each in namespace.all("Pod")] == [pod["metadata"]["uid"]]
