"""What a workload becomes in a cluster."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.builders import eval_job, fine_tune_job, model_serve
from tunesmith_api.contract import TrainRun, run_config
from tunesmith_api.finetunejob import FineTuneJobStatus, PublishedModel
from tunesmith_api.resources import Resource, reference
from tunesmith_operator.backends.native import RenderError, Settings, render, secret
from tunesmith_operator.planner import Observed, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SETTINGS = Settings(image="registry.test/runtime:1")
TUNED = fine_tune_job(
    status=FineTuneJobStatus(phase="Succeeded", output=PublishedModel(uri="pvc://models/support-bot"))
)


def rendered(resource: Resource) -> dict[str, dict[str, Any]]:
    observed = Observed(resources={reference(TUNED): TUNED}, address="http://support-bot.default.svc:8000")
    (workload,) = plan(resource, observed, NOW).ensure
    return {f"{each['kind']} {each['metadata']['name']}": each for each in render(workload, SETTINGS)}


JOB = "Job support-bot-a1"
RUN_OBJECTS = [
    "ConfigMap support-bot-a1",
    "ConfigMap support-bot-a1-progress",
    "ServiceAccount support-bot-a1",
    "Role support-bot-a1",
    "RoleBinding support-bot-a1",
]


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_a_training_attempt_is_a_job_that_is_not_retried_by_kubernetes() -> None:
    objects = rendered(fine_tune_job(resources={"gpu": 1, "cpu": 4, "memory": "16Gi"}))

    assert list(objects) == [*RUN_OBJECTS, JOB]
    assert objects[JOB]["spec"]["backoffLimit"] == 0
    amounts = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
    assert container(objects[JOB])["resources"] == {"requests": amounts, "limits": amounts}
    assert "/dev/shm" in {mount["mountPath"] for mount in container(objects[JOB])["volumeMounts"]}


def test_the_run_config_is_what_the_runtime_reads() -> None:
    objects = rendered(fine_tune_job())
    config = run_config.validate_json(objects["ConfigMap support-bot-a1"]["data"]["config.json"])
    assert isinstance(config, TrainRun)
    assert config.model == "pvc://models/base"
    assert {"name": "TUNESMITH_CONFIG", "value": "/etc/tunesmith/config.json"} in container(objects[JOB])["env"]


def test_claims_are_mounted_where_their_uris_resolve() -> None:
    pod = rendered(fine_tune_job())[JOB]["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert (mounts["claim-0"], mounts["claim-1"]) == ("/volumes/data", "/volumes/models")
    assert {"name": "claim-0", "persistentVolumeClaim": {"claimName": "data"}} in pod["volumes"]


@pytest.mark.parametrize("resource", [fine_tune_job(), model_serve()], ids=lambda each: each.kind)
def test_pods_keep_to_the_restricted_standard(resource: Resource) -> None:
    objects = rendered(resource)
    *_, workload = objects.values()
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
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

    assert list(objects)[-2:] == ["Service support-bot-v1", "Deployment support-bot-v1"]
    service, deployment = list(objects.values())[-2:]
    assert service["spec"]["ports"] == [{"name": "http", "port": 8000, "targetPort": "http", "protocol": "TCP"}]
    assert deployment["spec"]["replicas"] == 3
    assert container(deployment)["ports"] == [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_people_reach_an_evaluation_behind_a_service_and_others_have_none() -> None:
    people = [{"name": "people", "human": {"uri": "pvc://data/questions.jsonl"}}]
    asks = rendered(eval_job(baseline={"uri": "pvc://models/base"}, suites=people))
    service, job = asks["Service rating-support-bot-eval-e1"], asks["Job support-bot-eval-e1"]
    (port,) = service["spec"]["ports"]
    (opened,) = container(job)["ports"]
    assert port["port"] == opened["containerPort"] == 8080
    assert port["targetPort"] == opened["name"]
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    variables = {each["name"]: each.get("value") for each in container(job)["env"]}
    assert variables["TUNESMITH_RATING_URL"] == "http://rating-support-bot-eval-e1.default.svc:8080"
    assert variables["TUNESMITH_HOST"] == "0.0.0.0"

    alone = rendered(eval_job())
    assert not [name for name in alone if name.startswith("Service ")]
    assert "ports" not in container(alone["Job support-bot-eval-e1"])
    assert "TUNESMITH_HOST" not in {each["name"] for each in container(alone["Job support-bot-eval-e1"])["env"]}


def test_storage_of_one_machine_is_refused() -> None:
    job = fine_tune_job(output={"uri": "file:///home/me/model"})
    (workload,) = plan(job, Observed(), NOW).ensure
    with pytest.raises(
        RenderError, match=r"file:///home/me/model.*is for the local shell; use pvc:// or s3:// in a cluster"
    ):
        render(workload, SETTINGS)


def test_objects_are_plain_json() -> None:
    for each in rendered(model_serve()).values():
        json.dumps(each)


def test_several_pods_share_one_ray_cluster_and_a_secret_token() -> None:
    job = fine_tune_job(workers=3, resources={"gpu": 8})
    (workload,) = plan(job, Observed(), NOW).ensure
    objects = {each["kind"]: each for each in render(workload, SETTINGS)}

    assert objects["StatefulSet"]["spec"]["replicas"] == 2
    assert objects["StatefulSet"]["spec"]["podManagementPolicy"] == "Parallel"
    assert objects["Service"]["spec"]["clusterIP"] == "None"
    assert objects["Service"]["spec"]["publishNotReadyAddresses"] is True
    driver, worker = (objects[kind]["spec"]["template"]["spec"] for kind in ("Job", "StatefulSet"))
    assert (driver["hostname"], driver["subdomain"]) == ("support-bot-a1", objects["Service"]["metadata"]["name"])
    assert worker["containers"][0]["command"][-1] == "worker"
    assert worker["automountServiceAccountToken"] is False

    made = secret(workload, "s3cret")
    assert made is not None
    assert made["stringData"] == {"token": "s3cret"}
    for spec in (driver, worker):
        env = {each["name"]: each for each in spec["containers"][0]["env"]}
        assert env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == made["metadata"]["name"]
        assert env["TUNESMITH_RAY_ADDRESS"]["value"] == "support-bot-a1.support-bot-a1-ray.default.svc:6379"
    assert "s3cret" not in json.dumps(list(objects.values()))


def test_one_pod_needs_no_cluster_and_no_secret() -> None:
    (workload,) = plan(fine_tune_job(), Observed(), NOW).ensure
    assert secret(workload, "token") is None


def test_the_run_may_report_its_progress_and_nothing_else() -> None:
    objects = rendered(fine_tune_job())
    assert objects["Role support-bot-a1"]["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["support-bot-a1-progress"],
            "verbs": ["get", "patch"],
        }
    ]
    assert "data" not in objects["ConfigMap support-bot-a1-progress"]


def test_what_the_pod_template_says_is_what_the_pod_gets() -> None:
    template = {
        "labels": {"team": "support", "tunesmith.dev/owner": "nobody"},
        "annotations": {"note": "x"},
        "nodeSelector": {"gpu": "h100"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "batch",
        "runtimeClassName": "nvidia",
        "imagePullSecrets": [{"name": "registry"}],
        "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "HOME", "value": "/root"}],
        "volumes": [{"name": "cache", "emptyDir": {}}],
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
        "serviceAccountName": "trainer",
    }
    objects = rendered(fine_tune_job(podTemplate=template, secretRefs=[{"name": "hub-token"}]))

    assert "ServiceAccount support-bot-a1" not in objects
    assert objects["RoleBinding support-bot-a1"]["subjects"][0]["name"] == "trainer"
    pod = objects[JOB]["spec"]["template"]
    for field in ("nodeSelector", "affinity", "priorityClassName", "runtimeClassName"):
        assert pod["spec"][field] == template[field]
    assert [(each["key"], each.get("tolerationSeconds")) for each in pod["spec"]["tolerations"]] == [
        ("gpu", None),
        ("node.kubernetes.io/not-ready", 30),
        ("node.kubernetes.io/unreachable", 30),
    ]
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["spec"]["serviceAccountName"] == "trainer"
    assert pod["metadata"]["labels"]["team"] == "support"
    assert pod["metadata"]["labels"]["tunesmith.dev/owner"] == "support-bot"
    assert container(objects[JOB])["envFrom"] == [{"secretRef": {"name": "hub-token"}}]
    env = [(each["name"], each.get("value")) for each in container(objects[JOB])["env"]]
    assert ("NCCL_DEBUG", "INFO") in env
    assert [value for name, value in env if name == "HOME"] == ["/tmp"]
    assert {"name": "cache", "emptyDir": {}} in pod["spec"]["volumes"]
    assert {"name": "cache", "mountPath": "/cache"} in container(objects[JOB])["volumeMounts"]


def test_the_object_that_starts_it_carries_a_digest_of_all() -> None:
    one, same = rendered(model_serve()), rendered(model_serve())
    other = rendered(model_serve(replicas=2))
    digests = [
        list(each.values())[-1]["metadata"]["annotations"]["tunesmith.dev/applied"] for each in (one, same, other)
    ]
    assert digests[0] == digests[1] != digests[2]


CODE = {"name": "code", "harness": {"tasks": ["sums"], "taskUris": ["pvc://data/tasks"], "runsCode": True}}


def test_a_suite_that_runs_code_gets_a_pod_without_network_token_and_secrets() -> None:
    keyed = {"name": "key", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    template = {
        "env": [keyed],
        "volumes": [{"name": "keys", "secret": {"secretName": "keys"}}],
        "volumeMounts": [{"name": "keys", "mountPath": "/keys"}],
        "serviceAccountName": "cloudy",
        "nodeSelector": {"disk": "ssd"},
    }
    job = eval_job(
        target={"uri": "pvc://models/bot"},
        baseline=None,
        suites=[CODE],
        gates=[],
        podTemplate=template,
        secretRefs=[{"name": "hub"}],
    )
    (workload,) = plan(job, Observed(), NOW).ensure
    settings = Settings(image="registry.test/runtime:1", allow_task_code=True)
    objects = {each["kind"]: each for each in render(workload, settings)}

    assert list(objects) == ["ConfigMap", "NetworkPolicy", "Job"], "no ServiceAccount, and nothing to report to"
    policy, pod = objects["NetworkPolicy"]["spec"], objects["Job"]["spec"]["template"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & policy.keys(), "nothing is let through"
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["labels"]["tunesmith.dev/sandbox"] == "true"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod["spec"]
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert "ecret" not in json.dumps(objects["Job"])
    assert "TUNESMITH_PROGRESS_CONFIG_MAP" not in json.dumps(objects["Job"])
    mounts = {each["mountPath"]: each for each in container(objects["Job"])["volumeMounts"]}
    assert mounts["/volumes/data"]["readOnly"] is mounts["/volumes/models"]["readOnly"] is True
    own = f"reports/support-bot-eval-parts/{job.metadata.uid}/code"
    assert [path for path, each in mounts.items() if not each.get("readOnly")] == ["/tmp", f"/volumes/{own}"]
    assert f"reports/{mounts[f'/volumes/{own}']['subPath']}" == own


def test_where_the_admin_does_not_allow_code_its_suite_is_refused() -> None:
    job = eval_job(target={"uri": "pvc://models/bot"}, baseline=None, suites=[CODE], gates=[])
    (workload,) = plan(job, Observed(), NOW).ensure
    with pytest.raises(RenderError, match=r"suite code runs code .* ask the cluster's admin to set allowTaskCode"):
        render(workload, SETTINGS)


@pytest.mark.parametrize(("allowed", "said"), [(False, "0"), (True, "1")])
def test_only_the_admin_lets_evaluation_tasks_bring_code(allowed: bool, said: str) -> None:
    job = eval_job(podTemplate={"env": [{"name": "TUNESMITH_ALLOW_CODE", "value": "1"}]})
    (workload,) = plan(job, Observed(resources={reference(TUNED): TUNED}), NOW).ensure
    settings = Settings(image="registry.test/runtime:1", allow_task_code=allowed)
    (made,) = (each for each in render(workload, settings) if each["kind"] == "Job")
    values = [each["value"] for each in container(made)["env"] if each["name"] == "TUNESMITH_ALLOW_CODE"]
    assert values == [said]
