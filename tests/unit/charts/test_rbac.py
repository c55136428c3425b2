"""Who may do what: the operator exactly what it needs, people through the built-in roles."""

import pytest

from tests.unit.charts.rendered import KINDS, NAMESPACE, Object, helm_template, of_kind, operator_pod, rules
from tunesmith_api.queueing import Gang
from tunesmith_operator.controller.preflight import NEEDED, needed

OBJECTS = {"get", "list", "watch", "create", "patch", "delete"}
READS = {"get", "list", "watch"}
GRANTS = {"get", "create", "patch", "delete"}

# Every right of the operator. Whoever adds a line has a reason to tell.
OPERATOR = {
    **{f"tunesmith.dev/{kind}": READS for kind in KINDS},
    # For ttlSecondsAfterFinished, and for the runs of EvalJobs that repeat.
    "tunesmith.dev/finetunejobs": READS | {"delete"},
    "tunesmith.dev/evaljobs": READS | {"create", "delete"},
    **{f"tunesmith.dev/{kind}/status": {"get", "patch"} for kind in KINDS},
    **{f"tunesmith.dev/{kind}/finalizers": {"update"} for kind in KINDS},
    "/configmaps": OBJECTS,
    "/serviceaccounts": OBJECTS,
    "/services": OBJECTS,
    "/secrets": {"create"},
    "/pods": READS,
    "/events": {"list", "watch", "create", "patch"},
    "batch/jobs": OBJECTS,
    "apps/deployments": OBJECTS,
    "apps/statefulsets": OBJECTS,
    "ray.io/rayjobs": OBJECTS,
    "policy/poddisruptionbudgets": {"get", "create", "patch"},
    "rbac.authorization.k8s.io/roles": GRANTS,
    "rbac.authorization.k8s.io/rolebindings": GRANTS,
}
LEASE = {"coordination.k8s.io/leases": {"get", "create", "update"}}
SUBJECT = {"kind": "ServiceAccount", "name": "tunesmith-operator", "namespace": NAMESPACE}


def bound(objects: list[Object], kind: str, name: str) -> Object:
    """Return the binding to a role after checking that it binds the operator and nobody else."""
    binding = of_kind(objects, f"{kind}Binding")[name]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    assert binding["subjects"] == [SUBJECT]
    return binding


def test_cluster_wide_the_operator_has_these_rights_and_no_others() -> None:
    objects = helm_template()
    assert rules(of_kind(objects, "ClusterRole")["tunesmith-operator"]) == OPERATOR
    bound(objects, "ClusterRole", "tunesmith-operator")
    assert set(of_kind(objects, "ClusterRoleBinding")) == {"tunesmith-operator"}


def test_with_namespaces_it_has_them_there_only() -> None:
    objects = helm_template(values={"watchNamespaces": ["team-a", "team-b"]})
    assert set(of_kind(objects, "ClusterRole")) == {"tunesmith-viewer", "tunesmith-editor"}
    assert of_kind(objects, "ClusterRoleBinding") == {}
    for namespace in ("team-a", "team-b"):
        there = [each for each in objects if each["metadata"].get("namespace") == namespace]
        assert {each["kind"] for each in there} == {"Role", "RoleBinding"}
        assert rules(of_kind(there, "Role")["tunesmith-operator"]) == OPERATOR
        bound(there, "Role", "tunesmith-operator")


@pytest.mark.parametrize("namespaces", [[], ["team-a"], [NAMESPACE]])
def test_the_lease_is_its_own_namespace_s_business(namespaces: list[str]) -> None:
    objects = helm_template(values={"watchNamespaces": namespaces})
    role = of_kind(objects, "Role")["tunesmith-operator-lease"]
    assert role["metadata"]["namespace"] == NAMESPACE
    assert rules(role) == LEASE
    bound(objects, "Role", "tunesmith-operator-lease")


def test_the_operator_has_every_right_that_it_asks_for_when_it_starts() -> None:
    lacking = [
        f"{verb} {group}/{resource}"
        for group, resource, verbs in NEEDED
        for verb in verbs
        if verb not in OPERATOR[f"{group}/{resource}"]
    ]
    assert lacking == []


FURTHER = {
    "kueue": {"kueue.x-k8s.io/workloads": READS},
    "volcano": {"scheduling.volcano.sh/podgroups": OBJECTS},
    "coscheduling": {"scheduling.x-k8s.io/podgroups": OBJECTS},
}


@pytest.mark.parametrize("gang", sorted(FURTHER))
def test_a_gang_brings_the_rights_that_it_needs(gang: Gang) -> None:
    objects = helm_template(values={"gangs": {gang: {"enabled": True}}})
    assert rules(of_kind(objects, "ClusterRole")["tunesmith-operator"]) == OPERATOR | FURTHER[gang]
    assert f"--gang={gang}" in operator_pod(objects)["containers"][0]["args"]
    asked = {
        f"{group}/{resource}": set(verbs)
        for group, resource, verbs in needed(kuberay=True, gangs=frozenset({gang}))
        if (group, resource, verbs) not in NEEDED
    }
    assert asked == FURTHER[gang] | {"ray.io/rayjobs": OBJECTS}


def test_who_allows_code_in_tasks_lets_the_operator_fence_it_in() -> None:
    objects = helm_template(values={"allowTaskCode": True})
    further = {"networking.k8s.io/networkpolicies": {"get", "create", "patch"}}
    assert rules(of_kind(objects, "ClusterRole")["tunesmith-operator"]) == OPERATOR | further
    assert "--allow-task-code" in operator_pod(objects)["containers"][0]["args"]
    asked = {*needed(kuberay=False, gangs=frozenset(), task_code=True)} - {*NEEDED}
    assert {f"{group}/{resource}": set(verbs) for group, resource, verbs in asked} == further
    assert "--allow-task-code" not in operator_pod(helm_template())["containers"][0]["args"]


def test_who_has_the_gateway_api_lets_the_operator_make_routes() -> None:
    objects = helm_template(values={"gatewayApi": True})
    further = {"gateway.networking.k8s.io/httproutes": {"get", "create", "patch", "delete"}}
    assert rules(of_kind(objects, "ClusterRole")["tunesmith-operator"]) == OPERATOR | further
    assert "--gateway-api" in operator_pod(objects)["containers"][0]["args"]
    asked = {*needed(kuberay=False, gangs=frozenset(), gateway_api=True)} - {*NEEDED}
    assert {f"{group}/{resource}": set(verbs) for group, resource, verbs in asked} == further


def test_who_leaves_kuberay_alone_needs_no_right_to_it() -> None:
    objects = helm_template(values={"backend": "native"})
    assert "ray.io/rayjobs" not in rules(of_kind(objects, "ClusterRole")["tunesmith-operator"])
    assert "--backend=native" in operator_pod(objects)["containers"][0]["args"]


def test_it_cannot_write_what_git_holds() -> None:
    assert all(not OPERATOR[f"tunesmith.dev/{kind}"] & {"update", "patch"} for kind in KINDS)
    assert [kind for kind in KINDS if "create" in OPERATOR[f"tunesmith.dev/{kind}"]] == ["evaljobs"], "runs of its own"
    assert "delete" not in OPERATOR["tunesmith.dev/modelserves"]


def test_what_a_run_is_granted_the_operator_has_itself() -> None:
    assert {"get", "patch"} <= OPERATOR["/configmaps"]


def test_viewers_see_and_editors_also_change() -> None:
    roles = of_kind(helm_template(), "ClusterRole")
    status = {f"tunesmith.dev/{kind}/status": READS for kind in KINDS}
    assert rules(roles["tunesmith-viewer"]) == {f"tunesmith.dev/{kind}": READS for kind in KINDS} | status
    changes = READS | {"create", "update", "patch", "delete", "deletecollection"}
    assert rules(roles["tunesmith-editor"]) == {f"tunesmith.dev/{kind}": changes for kind in KINDS} | status


def test_the_built_in_roles_contain_them() -> None:
    roles = of_kind(helm_template(), "ClusterRole")
    assert aggregated(roles["tunesmith-viewer"]) == {"view", "edit", "admin"}
    assert aggregated(roles["tunesmith-editor"]) == {"edit", "admin"}
    assert aggregated(roles["tunesmith-operator"]) == set()


def test_they_need_not_and_there_may_be_none() -> None:
    apart = of_kind(helm_template(values={"rbac": {"userRoles": {"aggregate": False}}}), "ClusterRole")
    assert set(apart) == {"tunesmith-operator", "tunesmith-viewer", "tunesmith-editor"}
    assert not any(aggregated(role) for role in apart.values())
    without = of_kind(helm_template(values={"rbac": {"userRoles": {"create": False}}}), "ClusterRole")
    assert set(without) == {"tunesmith-operator"}


def test_an_account_of_the_user_s_own_is_bound_instead() -> None:
    objects = helm_template(values={"serviceAccount": {"create": False, "name": "mine"}})
    assert of_kind(objects, "ServiceAccount") == {}
    bindings = [*of_kind(objects, "ClusterRoleBinding").values(), *of_kind(objects, "RoleBinding").values()]
    assert [each["subjects"][0]["name"] for each in bindings] == ["mine", "mine"]


def aggregated(role: Object) -> set[str]:
    """Return the built-in roles that a role becomes part of."""
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    return {name.removeprefix(prefix) for name in role["metadata"]["labels"] if name.startswith(prefix)}
