"""Least privilege, shown by trying the rest."""

import json

import pytest

from tests.cluster.cluster import Cluster, Namespace, eventually
from tests.cluster.conftest import SYSTEM
from tests.cluster.work import job
from tunesmith_operator.controller.preflight import NEEDED

OPERATOR = f"system:serviceaccount:{SYSTEM}:tunesmith-operator"


def may(cluster: Cluster, account: str, verb: str, group: str, resource: str, namespace: str, name: str = "") -> bool:
    """Return what the cluster's own authorizer says of an account."""
    plain, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": plain, "subresource": subresource, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "resourceAttributes": {**attributes, "name": name}},
    }
    answer = cluster.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review).json()
    return bool(answer["status"]["allowed"])


def test_the_operator_may_do_what_it_needs(operator: Cluster) -> None:
    denied = [
        f"{verb} {resource}"
        for group, resource, verbs in NEEDED
        for verb in verbs
        if not may(operator, OPERATOR, verb, group, resource, "default")
    ]
    assert denied == []


@pytest.mark.parametrize(
    ("verb", "group", "resource"),
    [
        ("get", "", "secrets"),
        ("list", "", "secrets"),
        ("patch", "", "secrets"),
        ("create", "", "pods"),
        ("delete", "", "pods"),
        ("create", "", "pods/exec"),
        ("get", "", "nodes"),
        ("create", "rbac.authorization.k8s.io", "clusterroles"),
        ("escalate", "rbac.authorization.k8s.io", "roles"),
        ("bind", "rbac.authorization.k8s.io", "roles"),
        ("patch", "tunesmith.dev", "finetunejobs"),
        ("patch", "tunesmith.dev", "evaljobs"),
        ("delete", "tunesmith.dev", "modelserves"),
        ("deletecollection", "tunesmith.dev", "finetunejobs"),
        ("patch", "apiextensions.k8s.io", "customresourcedefinitions"),
        ("update", "coordination.k8s.io", "leases"),
        ("create", "admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ],
)
def test_the_operator_may_not_do_the_rest(operator: Cluster, verb: str, group: str, resource: str) -> None:
    assert not may(operator, OPERATOR, verb, group, resource, "default")


def test_the_operator_cannot_give_away_what_it_lacks(operator: Cluster, namespace: Namespace) -> None:
    as_operator = Cluster(operator.kubeconfig, impersonate=OPERATOR)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "too-much", "namespace": namespace.name},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
    }
    refused = as_operator.create(role)
    assert refused.status_code == 403
    assert "attempting to grant RBAC permissions not currently held" in refused.json()["message"]


@pytest.fixture
def run(operator: Cluster, namespace: Namespace) -> Cluster:
    """The cluster as a run's own account sees it."""
    namespace.apply(job(wanted={"seconds": 600}))
    eventually(lambda: namespace.status("FineTuneJob", "bot").get("progress"), "progress")
    return Cluster(operator.kubeconfig, impersonate=f"system:serviceaccount:{namespace.name}:bot-a1")


def test_a_run_may_do_one_thing(run: Cluster, namespace: Namespace) -> None:
    progress = f"/api/v1/namespaces/{namespace.name}/configmaps/bot-a1-progress"
    headers = {"Content-Type": "application/merge-patch+json"}
    body = json.dumps({"metadata": {"annotations": {"by": "the-run"}}})

    assert run.request("GET", progress).status_code == 200
    assert run._session.patch(f"{run._loaded.host}{progress}", data=body, headers=headers).status_code == 200


def test_a_run_may_do_nothing_else(run: Cluster, namespace: Namespace) -> None:
    core = f"/api/v1/namespaces/{namespace.name}"
    tried = {
        ("GET", f"{core}/configmaps/bot-a1"),
        ("GET", f"{core}/configmaps"),
        ("DELETE", f"{core}/configmaps/bot-a1-progress"),
        ("GET", f"{core}/secrets"),
        ("GET", f"{core}/pods"),
        ("GET", f"/apis/tunesmith.dev/v1alpha1/namespaces/{namespace.name}/finetunejobs/bot"),
        ("DELETE", f"/apis/tunesmith.dev/v1alpha1/namespaces/{namespace.name}/finetunejobs/bot"),
        ("GET", f"/apis/batch/v1/namespaces/{namespace.name}/jobs"),
        ("GET", "/api/v1/nodes"),
        ("GET", "/api/v1/namespaces/kube-system/configmaps"),
    }
    assert {each: run.request(*each).status_code for each in tried} == dict.fromkeys(tried, 403)


def test_pods_run_with_nothing_they_do_not_need(run: Cluster, namespace: Namespace) -> None:
    (pod,) = namespace.all("Pod")
    said = namespace.kubectl(
        "exec", pod["metadata"]["name"], "--",
        "sh", "-c", "id -u; touch /usr/x 2>&1; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status",
    )  # fmt: skip
    assert said.splitlines()[0] == "65532"
    assert "Read-only file system" in said
    assert "CapEff:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    assert "Seccomp:\t2" in said
