"""A server with KubeRay's definition takes what the KubeRay backend renders, and Kueue keeps what is Kueue's."""

import gzip
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.builders import fine_tune_job
from tests.crds.parts import POD_TEMPLATE
from tests.crds.server import Object, Server
from tunesmith_operator.backends.kuberay import USUAL, Offer, render
from tunesmith_operator.backends.native import Settings
from tunesmith_operator.controller.reconciler import UNTYPED
from tunesmith_operator.planner import Observed, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DEFINITION = Path(__file__).parent / "kuberay" / "ray.io_rayjobs.yaml.gz"
SETTINGS = Settings(image="registry.test/runtime:1")
OLD = Offer(served=True, answers=True)
BY_JOB = replace(SETTINGS, submission_mode="K8sJobMode")
# Our own volume is called scratch, too.
TEMPLATE = POD_TEMPLATE | {
    "volumes": [{"name": "extra", "emptyDir": {}}],
    "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
}
QUEUE = {"name": "research", "gang": "kueue"}
JOBS: dict[str, dict[str, Any]] = {
    "one worker": {},
    "several workers": {"workers": 4, "resources": {"gpu": 8, "cpu": "500m", "memory": "16Gi"}},
    "a pod template": {"workers": 2, "podTemplate": TEMPLATE, "secretRefs": [{"name": "hub-token"}]},
    "a queue of Kueue": {"workers": 2, "queue": QUEUE},
    "a gang of Volcano": {"workers": 2, "queue": {"gang": "volcano", "name": "research"}},
    "a gang of coscheduling": {"workers": 2, "queue": {"gang": "coscheduling"}},
}
WAYS: dict[str, tuple[Settings, Offer]] = {
    "sidecar": (SETTINGS, USUAL),
    "job": (BY_JOB, USUAL),
    "before 1.6": (SETTINGS, OLD),
}


def ray_job(settings: Settings = SETTINGS, offer: Offer = USUAL, name: str = "bot", **spec: Any) -> Object:
    (workload,) = plan(fine_tune_job(name, **spec), Observed(), NOW).ensure
    return render(workload, settings, offer)[-1]


@pytest.fixture(scope="module")
def ray(server: Server) -> Server:
    """The server with KubeRay's RayJobs."""
    definition = yaml.load(gzip.decompress(DEFINITION.read_bytes()), Loader=yaml.CSafeLoader)

    def is_served() -> bool:
        # The list of what is served lags behind what is.
        known = server.send("GET", "/apis/ray.io/v1")
        names = {each["name"] for each in known.body["resources"]} if known.accepted else set()
        return "rayjobs" in names and server.send("GET", path("v1")).accepted

    answer = server.load_definition(definition, is_served)
    assert answer.accepted, answer.message
    return server


@pytest.fixture
def held(ray: Server) -> Iterator[Object]:
    """A RayJob that Kueue holds, as the operator creates it."""
    body = ray_job(name=f"bot-{uuid4().hex[:8]}", workers=2, queue=QUEUE)
    answer = ray.send("POST", path("v1"), body, fieldManager="tunesmith")
    assert answer.accepted, answer.message
    yield body
    ray.send("DELETE", path("v1", body))


def path(version: str, body: Object | None = None) -> str:
    """Return the path of all RayJobs, or of one."""
    root = f"/apis/ray.io/{version}/namespaces/default/rayjobs"
    return f"{root}/{body['metadata']['name']}" if body else root


def within(ours: Any, theirs: Any) -> bool:
    """Return whether the server has kept all of what we sent; it may add defaults."""
    if isinstance(ours, dict):
        return isinstance(theirs, dict) and all(within(each, theirs.get(name)) for name, each in ours.items())
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(within, ours, theirs))
    return bool(ours == theirs)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("job", JOBS)
def test_it_takes_every_ray_job_and_drops_nothing(ray: Server, job: str, way: str) -> None:
    body = ray_job(*WAYS[way], **JOBS[job])

    answer = ray.send("PATCH", path("v1", body), body, dry=True, fieldManager="tunesmith", force="false")

    assert answer.accepted, answer.message
    assert within(body["spec"], answer.body["spec"])


def test_who_still_reads_the_deprecated_version_sees_it(ray: Server, held: Object) -> None:
    answer = ray.send("GET", path("v1alpha1", held))
    assert answer.accepted, answer.message
    assert answer.body["spec"]["entrypoint"] == held["spec"]["entrypoint"]


def test_a_field_that_an_older_kuberay_does_not_know_is_refused_for_good(ray: Server) -> None:
    body = ray_job()
    body["spec"]["rayClusterSpec"]["unheardOf"] = True

    answer = ray.send("PATCH", path("v1", body), body, dry=True, fieldManager="tunesmith")

    assert not answer.accepted
    # Some servers call this an internal error; the reconciler knows it by these words.
    assert answer.code in {400, 422} or UNTYPED in answer.message


def owners_of_suspend(body: Object) -> set[str]:
    """Return the managers that hold spec.suspend."""
    fields = body["metadata"]["managedFields"]
    return {each["manager"] for each in fields if "f:suspend" in each["fieldsV1"].get("f:spec", {})}


def test_once_kueue_lets_it_go_suspend_is_kueue_s(ray: Server, held: Object) -> None:
    let_go = {**held, "metadata": {"name": held["metadata"]["name"]}, "spec": {"suspend": False}}
    let_go["metadata"]["namespace"] = "default"
    answer = ray.send("PATCH", path("v1", held), let_go, fieldManager="kueue", force="true")
    assert answer.accepted, answer.message

    # The operator, started again, has not seen the RayJob yet.
    assert ray.send("POST", path("v1"), held, fieldManager="tunesmith").code == 409

    stored = ray.send("GET", path("v1", held)).body
    assert stored["spec"]["suspend"] is False
    assert owners_of_suspend(stored) == {"kueue"}


def test_applying_it_again_would_be_a_quarrel(ray: Server, held: Object) -> None:
    let_go = {**held, "metadata": {"name": held["metadata"]["name"]}, "spec": {"suspend": False}}
    assert ray.send("PATCH", path("v1", held), let_go, fieldManager="kueue", force="true").accepted

    again = ray.send("PATCH", path("v1", held), held, dry=True, fieldManager="tunesmith", force="false")

    assert again.code == 409
    assert ".spec.suspend" in again.message
