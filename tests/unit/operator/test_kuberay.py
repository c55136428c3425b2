"""What a training attempt becomes where KubeRay runs its pods."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.builders import fine_tune_job
from tunesmith_operator.backends.kuberay import RAY_VERSION, USUAL, Offer, render, takes
from tunesmith_operator.backends.native import RenderError, Settings
from tunesmith_operator.backends.native import render as render_natively
from tunesmith_operator.planner import Observed, Workload, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SETTINGS = Settings(image="registry.test/runtime:1")
# Before 1.6, KubeRay has no SidecarMode worth using, and no token that it could use itself.
OLD = Offer(served=True, answers=True)
Object = dict[str, Any]


def workload(name: str = "support-bot", **spec: Any) -> Workload:
    (found,) = plan(fine_tune_job(name, **{"workers": 3, **spec}), Observed(), NOW).ensure
    return found


def rendered(settings: Settings = SETTINGS, offer: Offer = USUAL, **spec: Any) -> dict[str, Object]:
    return {each["kind"]: each for each in render(workload(**spec), settings, offer)}


def ray_job(settings: Settings = SETTINGS, offer: Offer = USUAL, **spec: Any) -> Object:
    return dict(rendered(settings, offer, **spec)["RayJob"]["spec"])


def templates(spec: Object) -> list[Object]:
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
    return [group["template"] for group in groups]


def env(template: Object) -> dict[str, Object]:
    return {each["name"]: each for each in template["spec"]["containers"][0]["env"]}


def test_an_attempt_is_one_ray_job_that_kuberay_does_not_retry() -> None:
    spec = ray_job(resources={"gpu": 8})

    assert spec["backoffLimit"] == 0
    assert (spec["shutdownAfterJobFinishes"], spec["ttlSecondsAfterFinished"]) == (True, 0)
    assert spec["entrypoint"] == "python -m tunesmith_runtime"
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (2, 2, 2)
    assert group["rayStartParams"]["num-gpus"] == "8"
    assert group["rayStartParams"]["num-cpus"] == "8"


def test_what_surrounds_it_is_what_surrounds_a_job() -> None:
    ours, native = (
        [each for each in objects if each["kind"] not in {"RayJob", "Job", "StatefulSet", "Service"}]
        for objects in (render(workload(), SETTINGS), render_natively(workload(), SETTINGS))
    )
    progress = next(each for each in ours if each["metadata"]["name"] == "support-bot-a1-progress")
    assert progress["metadata"].pop("annotations") == {"tunesmith.dev/backend": "kuberay"}
    assert ours == native


def test_the_submitter_is_a_sidecar_from_1_6_on() -> None:
    spec = ray_job()
    assert spec["submissionMode"] == "SidecarMode"
    assert "submitterConfig" not in spec
    assert "submitterPodTemplate" not in spec
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    # KubeRay sets the mode and the token itself.
    assert all("RAY_AUTH_MODE" not in env(each) and "RAY_AUTH_TOKEN" not in env(each) for each in templates(spec))


def test_before_1_6_it_is_a_job_of_one_try_and_there_is_no_token() -> None:
    spec = ray_job(offer=OLD)
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["submitterConfig"] == {"backoffLimit": 0}
    assert "authOptions" not in spec["rayClusterSpec"]
    assert all(env(each)["RAY_AUTH_MODE"]["value"] == "disabled" for each in templates(spec))


def test_where_the_restricted_standard_is_enforced_it_is_a_restricted_job() -> None:
    spec = ray_job(replace(SETTINGS, submission_mode="K8sJobMode"))
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    submitter = spec["submitterPodTemplate"]["spec"]
    head = templates(spec)[0]["spec"]
    assert submitter["securityContext"] == head["securityContext"]
    assert submitter["containers"][0]["securityContext"] == head["containers"][0]["securityContext"]
    assert "command" not in submitter["containers"][0]  # KubeRay's business


def test_its_pods_are_the_native_ones_but_for_how_they_meet() -> None:
    template = {"nodeSelector": {"gpu": "h100"}, "labels": {"team": "support"}}
    given: Object = {"podTemplate": template, "secretRefs": [{"name": "hub-token"}], "resources": {"memory": "16Gi"}}
    objects = {each["kind"]: each for each in render_natively(workload(**given), SETTINGS)}
    native = [objects[kind]["spec"]["template"]["spec"] for kind in ("Job", "StatefulSet")]

    for theirs, ours in zip(native, templates(ray_job(**given)), strict=True):
        assert ours["metadata"]["labels"]["team"] == "support"
        pod = ours["spec"]
        for field in ("volumes", "nodeSelector", "securityContext", "automountServiceAccountToken"):
            assert pod[field] == theirs[field]
        assert pod["serviceAccountName"] == "support-bot-a1"
        assert "hostname" not in pod
        container, native_one = pod["containers"][0], theirs["containers"][0]
        for field in ("image", "resources", "volumeMounts", "envFrom", "securityContext"):
            assert container[field] == native_one[field]
        assert "command" not in container
        assert env(ours)["TUNESMITH_RAY_JOIN"]["value"] == "1"
        assert "TUNESMITH_RAY_ADDRESS" not in env(ours)


def test_kuberay_s_own_labels_and_probes_stay_out_of_the_way() -> None:
    spec = ray_job()
    for each in templates(spec):
        assert "app.kubernetes.io/name" not in each["metadata"]["labels"]
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "support-bot-a1"
        # Its default probes call wget, which our image does not have.
        assert "tcpSocket" in each["spec"]["containers"][0]["readinessProbe"]
        assert "tcpSocket" in each["spec"]["containers"][0]["livenessProbe"]


def test_a_pod_that_is_told_to_end_saves_a_checkpoint_first() -> None:
    for each in templates(ray_job()):
        hook = each["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]
        assert hook["command"] == ["python", "-m", "tunesmith_runtime", "leave"]
        assert each["spec"]["restartPolicy"] == "Never"


def test_one_worker_is_a_head_alone() -> None:
    assert "workerGroupSpecs" not in ray_job(workers=1)["rayClusterSpec"]


@pytest.mark.parametrize(
    ("name", "taken"), [("a" * 47, True), ("a" * 48, False), ("3d-bot-a1", False), ("bot-a1", True), ("b", True)]
)
def test_kuberay_takes_shorter_names_than_kubernetes(name: str, taken: bool) -> None:
    assert takes(name) == taken


def test_a_name_that_it_does_not_take_is_refused_in_a_sentence() -> None:
    with pytest.raises(RenderError, match=r"at most 47 characters that begin with a letter.* is called 3d-bot-a1"):
        render(workload("3d-bot"), SETTINGS)


def test_storage_of_one_machine_is_refused() -> None:
    with pytest.raises(RenderError, match="is for the local shell"):
        render(workload(output={"uri": "file:///home/me/model"}), SETTINGS)


def test_everything_belongs_to_its_resource_and_is_plain_json() -> None:
    for each in render(workload(), SETTINGS):
        assert each["metadata"]["labels"]["tunesmith.dev/owner-uid"] == "uid-support-bot"
        json.dumps(each)


def test_the_version_of_ray_is_the_runtime_s() -> None:
    lock = (Path(__file__).parents[3] / "requirements.lock").read_text()
    assert re.findall(r"^ray(?:\[.*\])?==(\S+)$", lock, re.MULTILINE) == [RAY_VERSION]
