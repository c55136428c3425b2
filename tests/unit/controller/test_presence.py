"""Whether an attempt is still there, where it is, and whose fault its end was."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tunesmith_api import conditions as c
from tunesmith_operator.backends.observation import Children, observe
from tunesmith_operator.planner import ObservedWorkload

Object = dict[str, Any]
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def made(kind: str, name: str, role: str = "driver", *, deleted: datetime | None = None, **body: Any) -> Object:
    labels = {"app.kubernetes.io/instance": "bot-a1", "tunesmith.dev/role": role}
    metadata: Object = {"name": name, "namespace": "here", "labels": labels}
    if deleted:
        metadata["deletionTimestamp"] = deleted.isoformat()
    return {"kind": kind, "metadata": metadata, **body}


def pod(role: str = "driver", phase: str = "Running", node: str = "node-a", **more: Any) -> Object:
    deleted = more.pop("deleted", None)
    state = {"running": {"startedAt": "2026-11-21T11:30:00Z"}}
    status = {"phase": phase, "containerStatuses": [{"image": "runtime:1", "state": state}], **more}
    return made("Pod", f"bot-a1-{role}", role, deleted=deleted, spec={"nodeName": node}, status=status)


def job(*conditions: str, deleted: datetime | None = None) -> Object:
    told = [{"type": kind, "status": "True", "lastTransitionTime": "2026-11-21T12:00:00Z"} for kind in conditions]
    return made("Job", "bot-a1", deleted=deleted, status={"conditions": told})


def seen(*pods: Object, job: Object | None = None, stateful_set: Object | None = None) -> ObservedWorkload | None:
    return observe(Children("bot-a1", job=job, pods=list(pods), stateful_set=stateful_set), NOW)


def test_where_its_pods_are_and_since_when() -> None:
    found = seen(pod(), pod("worker", node="node-b"), job=job())
    assert found is not None
    assert found.nodes == ("node-a", "node-b")
    assert found.running_since == NOW - timedelta(minutes=30)


def test_a_job_that_is_being_deleted_is_there_until_it_is_gone() -> None:
    found = seen(pod(deleted=NOW), job=job(deleted=NOW))
    assert found is not None
    assert (found.state, found.stopping) == ("Running", True)


def test_pods_without_their_job_are_an_attempt_that_is_ending() -> None:
    found = seen(pod("worker"))
    assert found is not None
    assert (found.state, found.stopping) == ("Running", True)
    assert seen(pod("worker", phase="Failed")) is None


def test_a_server_is_there_until_its_pods_are_gone() -> None:
    found = seen(pod("server", deleted=NOW))
    assert found is not None
    assert (found.ready, found.stopping) == (False, True)


def test_the_first_pods_of_an_attempt_are_not_taken_for_its_last() -> None:
    assert seen(pod("worker"), stateful_set=made("StatefulSet", "bot-a1-workers", "worker")) is None


def test_a_failed_job_is_waited_for_until_its_driver_has_ended() -> None:
    ending = seen(pod(deleted=NOW), job=job("Failed"))
    assert ending is not None
    assert (ending.state, ending.stopping) == ("Running", True)
    over = seen(pod(phase="Failed", deleted=NOW), pod("worker"), job=job("Failed"))
    assert over is not None
    assert over.state == "Failed"


def test_nobody_waits_for_a_pod_of_a_node_that_does_not_answer() -> None:
    long_ago = NOW - timedelta(minutes=2)
    assert seen(pod(deleted=long_ago)) is None
    failed = seen(pod(deleted=long_ago), job=job("Failed"))
    assert failed is not None
    assert failed.state == "Failed"


def disrupted(reason: str) -> Object:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "so it was"}
    return pod(phase="Failed", node="node-b", conditions=[condition])


@pytest.mark.parametrize(
    ("lost", "reason", "words"),
    [
        (pod(phase="Failed", node="node-b", reason="NodeLost", message="unresponsive"), c.NODE_LOST, "unresponsive"),
        (pod(phase="Failed", node="node-b", reason="Terminated"), c.NODE_LOST, "Terminated"),
        (disrupted("DeletionByTaintManager"), c.NODE_LOST, "so it was"),
        (disrupted("PreemptionByScheduler"), c.EVICTED, "so it was"),
    ],
)
def test_whose_fault_the_end_of_a_pod_was(lost: Object, reason: str, words: str) -> None:
    found = seen(lost, pod("worker", node="node-c"), job=job("Failed"))
    assert found is not None
    assert (found.reason, found.pod) == (reason, "bot-a1-driver")
    assert words in found.message
    # Only a lost node is kept away from, and not those of the pods that were well.
    assert found.nodes == (("node-b",) if reason == c.NODE_LOST else ("node-b", "node-c"))
