"""What a RayJob, a queue and a PodGroup say about an attempt."""

from typing import Any

import pytest

from tests.unit.controller.test_observation import made, pod, seen
from tunesmith_api import conditions as c
from tunesmith_operator.backends.children import Children, group
from tunesmith_operator.backends.observation import observe

Object = dict[str, Any]
THEN = "2026-11-21T12:00:00Z"


def ray_job(deployment: str = "", job: str = "", workers: int = 1, **status: Any) -> Object:
    spec = {"rayClusterSpec": {"headGroupSpec": {}, "workerGroupSpecs": [{"replicas": workers}]}}
    told = {"jobDeploymentStatus": deployment, "jobStatus": job, **status}
    return made("RayJob", "bot-a1", spec=spec, status={name: value for name, value in told.items() if value})


def held(kind: str = "RayJob", *, suspended: bool = True) -> Object:
    starter = made(kind, "bot-a1", spec={"suspend": suspended}, status={})
    starter["metadata"]["labels"] = starter["metadata"]["labels"] | {"kueue.x-k8s.io/queue-name": "research"}
    return starter


def workload(*conditions: Object, **status: Any) -> Object:
    return {"kind": "Workload", "metadata": {"name": "w"}, "status": {"conditions": list(conditions), **status}}


@pytest.mark.parametrize(
    ("deployment", "job", "state"),
    [
        ("", "", "Pending"),
        ("Initializing", "", "Pending"),
        ("Running", "RUNNING", "Pending"),
        ("Running", "SUCCEEDED", "Pending"),  # KubeRay's last word is yet to come
        ("Complete", "SUCCEEDED", "Succeeded"),
        ("Complete", "STOPPED", "Failed"),
        ("Failed", "FAILED", "Failed"),
        ("Failed", "", "Failed"),
        ("ValidationFailed", "", "Failed"),
        ("Suspended", "", "Pending"),
        ("SomethingNew", "", "Pending"),
    ],
)
def test_how_a_ray_job_stands(deployment: str, job: str, state: str) -> None:
    assert seen(Children("bot-a1", ray_job=ray_job(deployment, job)))[0] == state


def test_it_runs_once_all_of_its_pods_do() -> None:
    running = ray_job("Running", "RUNNING")
    assert seen(Children("bot-a1", ray_job=running, pods=[pod("a"), pod("b")])) == ("Running", "", "")
    assert seen(Children("bot-a1", ray_job=running, pods=[pod("a"), pod("b", "Pending")]))[0] == "Pending"


def test_an_end_has_its_time_and_kuberay_s_words() -> None:
    failed = ray_job("Failed", "", reason="SubmissionFailed", message="no head", endTime=THEN)
    found = observe(Children("bot-a1", ray_job=failed))
    assert found is not None
    assert found.message == "RayJob bot-a1: SubmissionFailed: no head"
    assert found.ended_at is not None
    assert found.ended_at.isoformat() == "2026-11-21T12:00:00+00:00"


def test_a_pod_s_last_words_say_more_than_kuberay_s() -> None:
    killed = {"name": "train", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    children = Children("bot-a1", ray_job=ray_job("Failed"), pods=[pod("a", "Failed", killed)])
    assert seen(children)[1] == c.OUT_OF_MEMORY


def test_a_pod_that_kuberay_could_not_make() -> None:
    event = {
        "reason": "FailedToCreateHeadPod",
        "involvedObject": {"kind": "RayCluster", "name": "bot-a1-x7k2p"},
        "message": "Failed to create head Pod here/bot-a1-x7k2p-head: exceeded quota: small",
        "metadata": {"name": "e"},
    }
    waiting = Children("bot-a1", ray_job=ray_job("Initializing"), troubles=[event])
    assert seen(waiting)[:2] == ("Pending", c.QUOTA_EXCEEDED)

    there = Children("bot-a1", ray_job=ray_job("Running"), pods=[pod("a"), pod("b")], troubles=[event])
    assert seen(there) == ("Running", "", "")


def test_its_objects_are_found_by_their_labels() -> None:
    objects = [ray_job(), pod("a"), made("VolcanoPodGroup", "bot-a1")]
    children = group(objects)["bot-a1"]
    assert children.attempt is children.ray_job is objects[0]
    assert children.pod_group is objects[2]


@pytest.mark.parametrize("kind", ["Job", "RayJob"])
def test_a_run_that_kueue_holds_says_why(kind: str) -> None:
    lacks = {
        "type": "QuotaReserved",
        "status": "False",
        "reason": "Pending",
        "message": "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu",
    }
    children = group([held(kind)])["bot-a1"]
    assert seen(children) == ("Pending", c.WAITING_IN_QUEUE, "it waits in queue research")

    children.admission = workload(lacks)
    assert seen(children) == ("Pending", c.WAITING_IN_QUEUE, f"it waits in queue research: {lacks['message']}")


def test_a_run_that_kueue_sent_back_says_why() -> None:
    evicted = {"type": "Evicted", "status": "True", "reason": "Preempted", "message": "Preempted to accommodate bot-2"}
    children = Children("bot-a1", ray_job=held(), admission=workload(evicted))
    assert seen(children)[2] == "it waits in queue research: Preempted to accommodate bot-2"


def test_a_run_with_quota_waits_for_what_else_is_checked() -> None:
    reserved = {"type": "QuotaReserved", "status": "True"}
    checks = [
        {"name": "provision", "state": "Pending", "message": "waiting for nodes"},
        {"name": "b", "state": "Ready"},
    ]
    children = Children("bot-a1", ray_job=held(), admission=workload(reserved, admissionChecks=checks))
    assert seen(children)[2] == "it waits in queue research: provision Pending: waiting for nodes"


def test_a_run_that_kueue_let_go_is_like_any_other() -> None:
    children = Children("bot-a1", job=held("Job", suspended=False), pods=[pod()])
    assert seen(children) == ("Running", "", "")


def test_pods_that_wait_for_each_other_say_so_in_their_scheduler_s_words() -> None:
    told = {"type": "Unschedulable", "status": "True", "message": "3/3 tasks in gang unschedulable: 1 Insufficient cpu"}
    volcano = {
        **made("VolcanoPodGroup", "bot-a1"),
        "spec": {"queue": "research"},
        "status": {"phase": "Inqueue", "conditions": [told]},
    }
    pending = [pod("a", "Pending"), pod("b", "Pending")]
    children = Children("bot-a1", job=made("Job", "bot-a1", status={}), pods=pending, pod_group=volcano)
    assert seen(children)[1:] == (c.WAITING_IN_QUEUE, f"it waits in queue research: {told['message']}")

    volcano["status"] = {"phase": "Running"}
    assert seen(children)[1] == ""
