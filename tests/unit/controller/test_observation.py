"""What the objects of a cluster say about a workload."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tunesmith_api import conditions as c
from tunesmith_api.contract import AdapterReport, PartResult, ProgressDocument, RunFailure
from tunesmith_operator.backends.observation import Children, observe, outdated

Object = dict[str, Any]


def made(kind: str, name: str, role: str = "driver", **body: Any) -> Object:
    labels = {"app.kubernetes.io/instance": "bot-a1", "tunesmith.dev/role": role, "job-name": "bot-a1"}
    return {"kind": kind, "metadata": {"name": name, "namespace": "here", "labels": labels}, **body}


def pod(name: str = "bot-a1-x", phase: str = "Running", container: Object | None = None, **status: Any) -> Object:
    containers = [{"image": "runtime:1", **container}] if container else []
    return made("Pod", name, status={"phase": phase, "containerStatuses": containers, **status})


def the_job(*conditions: Object) -> Object:
    return made("Job", "bot-a1", status={"conditions": list(conditions)})


def ended(kind: str) -> Object:
    return {"type": kind, "status": "True", "lastTransitionTime": "2026-11-21T12:00:00Z", "message": "backoff"}


def attempt(
    *pods: Object, job: Object | None = None, troubles: tuple[Object, ...] = (), report: Object | None = None
) -> Children:
    progress = made("ConfigMap", "bot-a1-progress", data={"progress.json": json.dumps(report)}) if report else None
    return Children("bot-a1", job=job or the_job(), pods=list(pods), troubles=list(troubles), progress=progress)


def event(reason: str, kind: str, name: str, message: str) -> Object:
    about = {"kind": kind, "name": name}
    return {"reason": reason, "involvedObject": about, "message": message, "metadata": {"name": "e"}}


def seen(children: Children) -> tuple[str, str, str]:
    found = observe(children)
    assert found is not None
    return found.state, found.reason, found.message


def test_nothing_that_runs_it_is_nothing_to_be_seen() -> None:
    assert observe(Children("bot-a1", pods=[pod(phase="Failed")])) is None


def test_a_sandbox_speaks_through_its_job_and_its_last_words() -> None:
    def sandboxed(each: Object) -> Object:
        each["metadata"]["labels"]["tunesmith.dev/sandbox"] = "true"
        return each

    done = observe(attempt(job=sandboxed(the_job(ended("Complete")))))
    assert done is not None
    assert done.progress is not None
    assert done.progress.result == PartResult()
    words = ProgressDocument(state="Failed", failure=RunFailure(reason="DataInvalid", message="no", retryable=False))
    for said, expected in ((words.model_dump_json(), words.failure), ("Traceback: boom", None), ("{boom", None)):
        terminated = {"terminated": {"exitCode": 1, "message": said}}
        failed = sandboxed(pod(phase="Failed", container={"state": terminated}))
        found = observe(attempt(failed, job=sandboxed(the_job(ended("Failed")))))
        assert found is not None
        assert (found.progress.failure if found.progress else None) == expected
    # Of others, what they print is no report.
    other = pod(
        phase="Failed", container={"state": {"terminated": {"exitCode": 1, "message": words.model_dump_json()}}}
    )
    found = observe(attempt(other, job=the_job(ended("Failed"))))
    assert found is not None
    assert found.progress is None


def test_a_pod_that_runs() -> None:
    assert seen(attempt(pod())) == ("Running", "", "")


def test_it_does_not_run_until_all_of_its_pods_do() -> None:
    assert seen(attempt(pod(), pod("bot-a1-workers-0", "Pending")))[0] == "Pending"
    assert seen(attempt())[0] == "Pending"


def test_what_a_run_reports_is_part_of_it() -> None:
    report = {"version": 1, "state": "Running", "training": {"step": 3, "totalSteps": 9}}
    found = observe(attempt(pod(), report=report))
    assert found is not None
    assert found.progress is not None
    assert found.progress.training is not None
    assert found.progress.training.step == 3


def test_a_report_that_makes_no_sense_is_none() -> None:
    children = attempt(pod())
    children.progress = made("ConfigMap", "bot-a1-progress", data={"progress.json": "{"})
    found = observe(children)
    assert found is not None
    assert found.progress is None


def waiting(reason: str, message: str = "why") -> Object:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


@pytest.mark.parametrize(
    ("children", "reason", "words"),
    [
        (attempt(pod(phase="Pending", container=waiting("ImagePullBackOff"))), c.IMAGE_PULL_FAILED, "image runtime:1"),
        (attempt(pod(phase="Pending", container=waiting("CreateContainerConfigError", 'secret "t" not found'))),
         c.CONTAINER_NOT_STARTED, 'secret "t" not found'),
        (attempt(pod(phase="Pending", conditions=[
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}])),
         c.UNSCHEDULABLE, "0/1 nodes"),
        (attempt(troubles=(event("FailedCreate", "Job", "bot-a1", "exceeded quota: small"),)),
         c.QUOTA_EXCEEDED, "Job bot-a1: exceeded quota: small"),
        (attempt(troubles=(event("FailedCreate", "Job", "bot-a1", "violates PodSecurity"),)),
         c.POD_REFUSED, "violates PodSecurity"),
        (attempt(pod(phase="Pending"), troubles=(event("FailedMount", "Pod", "bot-a1-x", "no such volume"),)),
         c.VOLUME_NOT_MOUNTED, "no such volume"),
    ],
)  # fmt: skip
def test_why_a_pod_does_not_start(children: Children, reason: str, words: str) -> None:
    state, found, message = seen(children)
    assert (state, found) == ("Pending", reason)
    assert words in message


def test_troubles_of_the_past_are_over() -> None:
    refused = event("FailedCreate", "Job", "bot-a1", "exceeded quota: small")
    unmounted = event("FailedMount", "Pod", "bot-a1-x", "no such volume")
    assert seen(attempt(pod(), troubles=(refused, unmounted))) == ("Running", "", "")


def test_the_end_of_an_attempt() -> None:
    good = observe(attempt(pod(phase="Succeeded"), job=the_job(ended("Complete"))))
    assert good is not None
    assert (good.state, good.ended_at and good.ended_at.isoformat()) == ("Succeeded", "2026-11-21T12:00:00+00:00")


def terminated(code: int, reason: str = "Error", message: str = "") -> Object:
    return {"state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}


def test_the_last_words_of_a_pod() -> None:
    said = terminated(3, message="Traceback: boom\n")
    state, reason, message = seen(attempt(pod(phase="Failed", container=said), job=the_job(ended("Failed"))))
    assert (state, reason) == ("Failed", c.CRASHED)
    assert message == "pod bot-a1-x ended with exit code 3: Traceback: boom"


def test_memory_comes_before_other_reasons_and_a_worker_before_the_driver() -> None:
    driver = pod(phase="Failed", container=terminated(1, message="a training worker was lost"))
    worker = pod("bot-a1-workers-0", container={"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}})
    state, reason, message = seen(attempt(driver, worker, job=the_job(ended("Failed"))))
    assert (state, reason) == ("Failed", c.OUT_OF_MEMORY)
    assert message.startswith("pod bot-a1-workers-0 was killed (OOMKilled)")


def test_an_eviction() -> None:
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    state, reason, message = seen(attempt(evicted, job=the_job(ended("Failed"))))
    assert (state, reason) == ("Failed", c.EVICTED)
    assert "low on resource" in message


def server(ready: int, *pods: Object, report: Object | None = None) -> Children:
    deployment = made("Deployment", "bot-v1", "server", status={"availableReplicas": ready})
    service = made("Service", "bot", "server", spec={"ports": [{"port": 8000}]})
    said = {"bot-a1-x.json": report} if report else {}
    return server_that_says(said, deployment, service, *pods)


def server_that_says(said: Mapping[str, Object], deployment: Object, service: Object, *pods: Object) -> Children:
    """Return a server of whose pods each has reported something, or nothing."""
    data = {key: json.dumps(document) for key, document in said.items()}
    progress = made("ConfigMap", "bot-v1-progress", data=data)
    return Children("bot-v1", deployment=deployment, services=[service], pods=list(pods), progress=progress)


def test_a_server_is_ready_when_one_of_its_pods_is() -> None:
    found = observe(server(1, pod()))
    assert found is not None
    assert (found.ready, found.url) == (True, "http://bot.here.svc:8000")
    starting = observe(server(0, pod()))
    assert starting is not None
    assert (starting.ready, starting.url) == (False, None)


def test_each_pod_of_a_server_reports_its_adapters() -> None:
    ready: Object = {"conditions": [{"type": "Ready", "status": "True"}]}
    deployment = made("Deployment", "bot-v1", "server", status={"availableReplicas": 2})
    service = made("Service", "bot", "server", spec={"ports": [{"port": 8000}]})
    pods = [pod("one", **ready), pod("three"), pod("two", **ready)]
    one: Object = {"adapters": {"generation": 4, "loaded": ["formal"]}}
    said = {"one.json": one, "three.json": one, "gone.json": one}
    found = observe(server_that_says(said, deployment, service, *pods))
    assert found is not None
    assert found.adapters == (AdapterReport(generation=4, loaded=("formal",)), AdapterReport())


def test_what_pods_have_said_that_are_long_gone_is_outdated() -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    old, new = {"updatedAt": "2026-11-22T11:49:59Z"}, {"updatedAt": "2026-11-22T11:51:00Z"}
    said: dict[str, Object] = {
        "here.json": old,
        "gone.json": old,
        "unheard-of.json": new,
        "garbage.json": {"version": "x"},
    }
    deployment = made("Deployment", "bot-v1", "server", status={})
    found = server_that_says(said, deployment, made("Service", "bot", "server"), pod("here"))
    assert outdated(found, now) == ("gone.json", "garbage.json")
    assert outdated(attempt(pod(), report={"state": "Running"}), now) == ()


def test_a_server_that_crashes_again_and_again() -> None:
    last = {"restartCount": 2, "lastState": {"terminated": {"exitCode": 7, "message": "boom"}}, "state": {}}
    assert seen(server(0, pod(container=last)))[1] == c.CRASH_LOOP
    failure = {"reason": "ModelInvalid", "message": "no config.json", "retryable": False}
    state, reason, message = seen(server(0, pod(container=last), report={"state": "Failed", "failure": failure}))
    assert (state, reason, message) == ("Failed", "ModelInvalid", "no config.json")
