"""The controller that plays KubeRay in the tests on a cluster does with a RayJob what KubeRay does."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.builders import fine_tune_job
from tests.cluster.kuberay import Step, cluster_name, definition, pods_of, service_of, step
from tunesmith_operator.backends.kuberay import render
from tunesmith_operator.backends.native import Settings
from tunesmith_operator.planner import Observed, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
THEN = "2026-11-21T12:00:00Z"
Object = dict[str, Any]


def ray_job(deployment: str = "", **spec: Any) -> Object:
    (workload,) = plan(fine_tune_job(workers=3), Observed(), NOW).ensure
    found = render(workload, Settings(image="registry.test/runtime:1"))[-1]
    found["metadata"]["uid"] = "uid-ray-job"
    return {**found, "spec": {**found["spec"], **spec}, "status": {"jobDeploymentStatus": deployment}}


def running(job: Object, phase: str = "Running") -> list[Object]:
    return [{**pod, "status": {"phase": phase}} for pod in pods_of(job)]


def ended(pod: Object, code: int) -> Object:
    status = {"phase": "Failed" if code else "Succeeded"}
    return {**pod, "status": status | {"containerStatuses": [{"state": {"terminated": {"exitCode": code}}}]}}


def told(found: Step) -> tuple[Any, Any]:
    return found.status.get("jobDeploymentStatus"), found.status.get("jobStatus")


def test_a_new_ray_job_becomes_a_head_and_its_workers() -> None:
    found = step(ray_job(), [], THEN)
    assert [each["metadata"]["name"] for each in found.create] == [
        "support-bot-a1-x7k2p-head",
        "support-bot-a1-x7k2p-worker-0",
        "support-bot-a1-x7k2p-worker-1",
    ]
    assert told(found) == ("Initializing", None)


def test_its_pods_are_those_of_the_templates_with_ray_in_them() -> None:
    job = ray_job()
    head, worker, _ = pods_of(job)
    for pod in (head, worker):
        assert pod["metadata"]["labels"]["tunesmith.dev/owner"] == "support-bot"
        assert pod["metadata"]["ownerReferences"][0]["uid"] == "uid-ray-job"
        env = {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
        assert (env["RAY_AUTH_MODE"], env["TUNESMITH_RAY_JOIN"]) == ("token", "1")
        json.dumps(pod)
    (head_script,), (worker_script,) = (pod["spec"]["containers"][0]["args"] for pod in (head, worker))
    assert "ray start --block --head --port=6379" in head_script
    assert "exec python -m tunesmith_runtime\n" in head_script
    assert f"--address={cluster_name(job)}-head-svc.default.svc:6379" in worker_script
    assert "--disable-usage-stats\n" in worker_script
    assert service_of(job)["spec"]["selector"].items() <= head["metadata"]["labels"].items()


def test_it_runs_once_its_head_does() -> None:
    job = ray_job("Initializing")
    assert step(job, running(job, "Pending"), THEN) == Step()
    assert told(step(job, running(job), THEN)) == ("Running", "RUNNING")
    assert step(ray_job("Running"), running(job), THEN) == Step()


@pytest.mark.parametrize(
    ("code", "deployment", "status"), [(0, "Complete", "SUCCEEDED"), (1, "Failed", "FAILED"), (143, "Failed", "FAILED")]
)
def test_it_ends_as_its_driver_does_and_takes_its_pods_along(code: int, deployment: str, status: str) -> None:
    job = ray_job("Running")
    head, *workers = running(job)
    assert told(step(job, [ended(head, code), *workers], THEN)) == (deployment, status)
    assert len(step(ray_job(deployment), [ended(head, code), *workers], THEN).delete) == 3


def test_a_head_that_is_gone_is_the_end_of_it() -> None:
    job = ray_job("Running")
    found = step(job, running(job)[1:], THEN)
    assert told(found) == ("Failed", None)
    assert found.status["message"] == "Ray head pod not found."


def test_a_worker_that_is_lost_is_made_again() -> None:
    job = ray_job("Running")
    head, first, second = running(job)
    assert [each["metadata"]["name"] for each in step(job, [head, second], THEN).create] == [first["metadata"]["name"]]
    dead = {**first, "status": {"phase": "Failed"}}
    assert step(job, [head, dead, second], THEN).delete == (first["metadata"]["name"],)


def test_a_queue_takes_its_pods_away_and_gives_them_back() -> None:
    held = ray_job("Running", suspend=True)
    found = step(held, running(held), THEN)
    assert (len(found.delete), told(found)[0]) == (3, "Suspended")
    assert step(ray_job("Suspended", suspend=True), [], THEN) == Step()

    let_go = ray_job("Suspended", suspend=False)
    assert step(let_go, running(let_go), THEN).create == ()
    assert len(step(let_go, [], THEN).create) == 3


def test_an_old_server_takes_the_definition() -> None:
    text = json.dumps(definition())
    assert "x-kubernetes-validations" not in text
    assert '"default": ""' not in text
    assert definition()["spec"]["group"] == "ray.io"
