"""What a workload becomes in a cluster."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.builders import fine_tune_job, model_serve
from tunesmith_api.contract import TrainRun, run_config
from tunesmith_api.finetunejob import FineTuneJobStatus, PublishedModel
from tunesmith_api.resources import Resource, reference
from tunesmith_operator.backends.native import RenderError, Settings, render
from tunesmith_operator.planner import Observed, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SETTINGS = Settings(image="registry.test/runtime:1")
TUNED = fine_tune_job(
    status=FineTuneJobStatus(phase="Succeeded", output=PublishedModel(uri="pvc://models/support-bot"))
)


def rendered(resource: Resource) -> dict[str, dict[str, Any]]:
    (workload,) = plan(resource, Observed(resources={reference(TUNED): TUNED}), NOW).ensure
    return {each["kind"]: each for each in render(workload, SETTINGS)}


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_a_training_attempt_is_a_job_that_is_not_retried_by_kubernetes() -> None:
    objects = rendered(fine_tune_job(resources={"gpu": 1, "cpu": 4, "memory": "16Gi"}))

    assert list(objects) == ["ConfigMap", "Job"]
    assert objects["Job"]["metadata"]["name"] == "support-bot-a1"
    assert objects["Job"]["spec"]["backoffLimit"] == 0
    amounts = {"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 1}
    assert container(objects["Job"])["resources"] == {"requests": amounts, "limits": amounts}
    assert "/dev/shm" in {mount["mountPath"] for mount in container(objects["Job"])["volumeMounts"]}


def test_the_run_config_is_what_the_runtime_reads() -> None:
    objects = rendered(fine_tune_job())
    config = run_config.validate_json(objects["ConfigMap"]["data"]["config.json"])
    assert isinstance(config, TrainRun)
    assert config.model == "pvc://models/base"
    assert {"name": "TUNESMITH_CONFIG", "value": "/etc/tunesmith/config.json"} in container(objects["Job"])["env"]


def test_claims_are_mounted_where_their_uris_resolve() -> None:
    pod = rendered(fine_tune_job())["Job"]["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert (mounts["claim-0"], mounts["claim-1"]) == ("/volumes/data", "/volumes/models")
    assert {"name": "claim-0", "persistentVolumeClaim": {"claimName": "data"}} in pod["volumes"]


@pytest.mark.parametrize("resource", [fine_tune_job(), model_serve()], ids=lambda each: each.kind)
def test_pods_keep_to_the_restricted_standard(resource: Resource) -> None:
    objects = rendered(resource)
    workload = objects.get("Job") or objects["Deployment"]
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container(workload)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_everything_belongs_to_its_resource() -> None:
    for each in rendered(fine_tune_job()).values():
        (owner,) = each["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("FineTuneJob", "support-bot", "uid-support-bot")
        assert each["metadata"]["labels"]["tunesmith.dev/owner-uid"] == "uid-support-bot"


def test_a_server_is_a_deployment_behind_a_service() -> None:
    objects = rendered(model_serve(port=9000, replicas=3))

    assert list(objects) == ["ConfigMap", "Deployment", "Service"]
    assert objects["Service"]["metadata"]["name"] == "support-bot"
    assert objects["Service"]["spec"]["ports"] == [{"name": "http", "port": 9000, "targetPort": "http"}]
    deployment = objects["Deployment"]
    assert deployment["spec"]["replicas"] == 3
    assert container(deployment)["ports"] == [{"name": "http", "containerPort": 9000}]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"].items() <= labels.items()


def test_storage_of_one_machine_is_refused() -> None:
    job = fine_tune_job(output={"uri": "file:///home/me/model"})
    (workload,) = plan(job, Observed(), NOW).ensure
    with pytest.raises(RenderError, match=r"file:///home/me/model.*is for the local shell; use pvc:// in a cluster"):
        render(workload, SETTINGS)


def test_objects_are_plain_json() -> None:
    for each in rendered(model_serve()).values():
        json.dumps(each)
