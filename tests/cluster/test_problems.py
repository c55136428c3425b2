"""What goes wrong with pods is said in the resource's conditions, in the cluster's own words."""

import json

from tests.cluster.cluster import Cluster, Namespace, Object, eventually
from tests.cluster.work import job, server, standin


def quota(name: str, hard: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}


def test_an_image_that_cannot_be_pulled(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(podTemplate={"image": "localhost/tunesmith/no-such-image:1"}))

    stalled = namespace.await_condition("FineTuneJob", "bot", "Stalled", "ImagePullFailed")

    assert "image localhost/tunesmith/no-such-image:1 cannot be pulled" in stalled["message"]


def test_a_pod_that_no_node_can_take(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(resources={"gpu": 7}))

    waits = namespace.await_condition("FineTuneJob", "bot", "Reconciling", "Unschedulable")

    assert "nvidia.com/gpu" in waits["message"]
    assert "Unschedulable" in namespace.kubectl("get", "events")


def test_a_quota_without_room_and_then_with(operator: Cluster, namespace: Namespace) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "0"}},
    }
    namespace.apply(quota)
    eventually(lambda: "hard" in namespace.kubectl("get", "quota", "small", "-o", "jsonpath={.status}"), "quota")
    namespace.apply(job())

    waits = namespace.await_condition("FineTuneJob", "bot", "Reconciling", "QuotaExceeded")
    assert "exceeded quota: small" in waits["message"]

    namespace.kubectl("delete", "quota", "small")
    # The Job's own controller tries again after a pause that it doubles each time.
    namespace.await_condition("FineTuneJob", "bot", "Succeeded", seconds=120)


def test_a_quota_without_room_for_the_job_itself(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(quota("none", {"count/jobs.batch": "0"}))
    eventually(lambda: "hard" in namespace.kubectl("get", "quota", "none", "-o", "jsonpath={.status}"), "quota")
    namespace.apply(job())

    waits = namespace.await_condition("FineTuneJob", "bot", "Reconciling", "QuotaExceeded")

    assert "count/jobs.batch" in waits["message"]
    assert namespace.status("FineTuneJob", "bot").get("attempts", []) == []


def test_a_run_that_uses_up_its_memory(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(wanted={"memory": 400}, resources={"memory": "128Mi"}, runPolicy={"maxAttempts": 1}))

    failed = namespace.await_condition("FineTuneJob", "bot", "Failed", "OutOfMemory")

    assert "OOMKilled" in failed["message"]
    assert "raise spec.resources.memory" in failed["message"]


def test_a_secret_that_is_not_there(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(secretRefs=[{"name": "hub-token"}]))

    stalled = namespace.await_condition("FineTuneJob", "bot", "Stalled", "ContainerNotStarted")
    assert 'secret "hub-token" not found' in stalled["message"]

    namespace.kubectl("create", "secret", "generic", "hub-token", "--from-literal=HF_TOKEN=swordfish")
    namespace.await_condition("FineTuneJob", "bot", "Succeeded")
    assert "swordfish" not in json.dumps([namespace.all("Job"), namespace.all("ConfigMap")])


def test_a_claim_that_is_not_there(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(output={"uri": "pvc://nowhere/bot"}))

    waits = namespace.await_condition("FineTuneJob", "bot", "Reconciling", "Unschedulable")

    assert 'persistentvolumeclaim "nowhere" not found' in waits["message"]


def test_a_volume_that_cannot_be_mounted(operator: Cluster, namespace: Namespace) -> None:
    volumes = [{"name": "extra", "configMap": {"name": "absent"}}]
    mounts = [{"name": "extra", "mountPath": "/extra"}]
    namespace.apply(job(podTemplate={**standin(), "volumes": volumes, "volumeMounts": mounts}))

    waits = namespace.await_condition("FineTuneJob", "bot", "Reconciling", "VolumeNotMounted")

    assert 'configmap "absent" not found' in waits["message"]


def test_a_crash_is_tried_again_and_then_given_up(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(wanted={"exit": 3}, runPolicy={"maxAttempts": 2}))

    retrying = namespace.await_condition("FineTuneJob", "bot", "Reconciling", "Retrying")
    assert "ended with exit code 3" in retrying["message"]
    assert "Traceback: something broke" in retrying["message"]

    failed = namespace.await_condition("FineTuneJob", "bot", "Failed", "Crashed")
    assert "(attempt 2 of 2)" in failed["message"]
    assert [each["metadata"]["name"] for each in namespace.all("Job")] == ["bot-a1", "bot-a2"]


def test_an_error_in_the_input_is_not_tried_again(operator: Cluster, namespace: Namespace) -> None:
    failure = {"reason": "DataInvalid", "message": "train.jsonl:3 is not JSON", "retryable": False}
    namespace.apply(job(wanted={"failure": failure}))

    failed = namespace.await_condition("FineTuneJob", "bot", "Failed", "DataInvalid")

    assert failed["message"] == "train.jsonl:3 is not JSON"
    assert len(namespace.status("FineTuneJob", "bot")["attempts"]) == 1


def test_an_object_that_the_api_server_refuses(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(podTemplate={**standin(), "tolerations": [{"operator": "Sometimes"}]}))

    stalled = namespace.await_condition("FineTuneJob", "bot", "Stalled", "ObjectRefused")

    assert "Job bot-a1 is refused" in stalled["message"]
    assert "Sometimes" in stalled["message"]


def test_a_name_that_belongs_to_somebody_else(operator: Cluster, namespace: Namespace) -> None:
    namespace.kubectl("create", "service", "clusterip", "bot", "--tcp=80:80")
    namespace.apply(job(), server(gate=None))

    stalled = namespace.await_condition("ModelServe", "bot", "Stalled", "NameTaken")

    assert "Service bot exists and is not Tunesmith's" in stalled["message"]
    ports = namespace.kubectl("get", "service", "bot", "-o", "jsonpath={.spec.ports[*].port}")
    assert ports == "80"


def test_a_server_that_crashes(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(), server(gate=None, podTemplate=standin(exit=7)))

    waits = namespace.await_condition("ModelServe", "bot", "Reconciling", "CrashLoop")

    assert "ended with exit code 7" in waits["message"]
    assert "Traceback: something broke" in waits["message"]


def test_storage_that_only_one_machine_has(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(output={"uri": "file:///home/me/bot"}))

    stalled = namespace.await_condition("FineTuneJob", "bot", "Stalled", "SpecInvalid")

    assert "file:// is for the local shell" in stalled["message"]
    namespace.apply(job())
    namespace.await_condition("FineTuneJob", "bot", "Succeeded")


def test_a_spec_that_is_changed_too_late(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(wanted={"seconds": 20}))
    eventually(lambda: namespace.status("FineTuneJob", "bot").get("phase") == "Running", "running job")

    namespace.apply(job(wanted={"seconds": 20}, training={"numTrainEpochs": 9}))
    stalled = namespace.await_condition("FineTuneJob", "bot", "Stalled", "SpecChanged")
    assert stalled["message"].startswith("spec.training cannot change once the FineTuneJob has started")

    patch = json.dumps([{"op": "remove", "path": "/spec/training/numTrainEpochs"}])
    namespace.kubectl("patch", "ftj", "bot", "--type=json", "-p", patch)
    namespace.await_condition("FineTuneJob", "bot", "Succeeded")
