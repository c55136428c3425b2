"""The chart: what a release consists of, and what the values change."""

import tomllib
from collections import Counter

import pytest
import yaml

from tests.programs import output
from tests.unit.charts.rendered import (
    CHART,
    KINDS,
    NAMESPACE,
    Object,
    helm_refuses,
    helm_template,
    of_kind,
    operator_pod,
    read,
    the,
)

EVERYTHING: Object = {
    "replicas": 2,
    "metrics": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
    "grafana": {"dashboard": {"enabled": True}},
}


def kinds(objects: list[Object]) -> Counter[str]:
    return Counter(each["kind"] for each in objects)


def container(objects: list[Object]) -> Object:
    (only,) = operator_pod(objects)["containers"]
    return dict(only)


@pytest.mark.parametrize("values", [{}, EVERYTHING, {"watchNamespaces": ["team-a"]}, {"crds": {"enabled": False}}])
def test_helm_lint_finds_nothing(values: Object) -> None:
    output("helm", "lint", "--strict", "--values", "-", str(CHART), text=yaml.safe_dump(values))


def test_a_release_has_the_crds_the_operator_and_its_roles_and_no_more_unless_asked() -> None:
    assert kinds(helm_template()) == {
        "CustomResourceDefinition": 3,
        "Deployment": 1,
        "Service": 1,
        "ServiceAccount": 1,
        "ClusterRole": 3,
        "ClusterRoleBinding": 1,
        "Role": 1,
        "RoleBinding": 1,
        "NetworkPolicy": 1,
        "Pod": 1,  # of `helm test`
    }
    more = kinds(helm_template(values=EVERYTHING)) - kinds(helm_template())
    assert more == {"PodDisruptionBudget": 1, "ServiceMonitor": 1, "PrometheusRule": 1, "ConfigMap": 1}


def test_chart_and_images_have_the_project_s_version() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    chart = yaml.safe_load(read("charts/tunesmith/Chart.yaml"))
    assert (chart["version"], chart["appVersion"]) == (version, version)
    operator = container(helm_template())
    assert operator["image"] == f"ghcr.io/tunesmith/operator:{version}"
    assert f"--runtime-image=ghcr.io/tunesmith/runtime:{version}" in operator["args"]


def test_a_digest_wins_over_a_tag() -> None:
    digest = "sha256:" + "0" * 64
    operator = container(
        helm_template(values={"image": {"tag": "1.0"}, "runtime": {"image": {"tag": "1.0", "digest": digest}}})
    )
    assert operator["image"].endswith("/operator:1.0")
    assert f"--runtime-image=ghcr.io/tunesmith/runtime@{digest}" in operator["args"]


def test_the_operator_is_told_what_the_values_say() -> None:
    values = {
        "concurrency": 3,
        "resyncSeconds": 60,
        "port": 9000,
        "log": {"level": "debug", "format": "text"},
        "watchNamespaces": ["team-a", "team-b"],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    }
    objects = helm_template(values=values)
    operator = container(objects)
    assert set(operator["args"]) >= {
        "--namespace=team-a",
        "--namespace=team-b",
        "--concurrency=3",
        "--resync-seconds=60",
        "--port=9000",
        "--leader-election",
        "--lease-name=tunesmith-operator",
        "--log-level=debug",
        "--log-format=text",
    }
    assert [each["name"] for each in operator["env"]] == ["POD_NAME", "POD_NAMESPACE", "HTTPS_PROXY"]
    assert operator["ports"] == [{"name": "http", "containerPort": 9000, "protocol": "TCP"}]
    assert the(objects, "Service")["spec"]["ports"] == [
        {"name": "http", "port": 9000, "targetPort": "http", "protocol": "TCP"}
    ]


def test_where_the_pods_run_is_the_user_s_choice() -> None:
    values: Object = {
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": [{"name": "registry"}],
        "podAnnotations": {"team": "ml"},
        "resources": {"limits": {"cpu": "2"}},
    }
    objects = helm_template(values=values)
    pod = operator_pod(objects)
    for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets"):
        assert pod[field] == values[field]
    selector = the(objects, "Deployment")["spec"]["selector"]
    assert pod["topologySpreadConstraints"] == [{**values["topologySpreadConstraints"][0], "labelSelector": selector}]
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": "512Mi"}
    assert the(objects, "Deployment")["spec"]["template"]["metadata"]["annotations"] == {"team": "ml"}


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
def test_pods_are_restricted(kind: str) -> None:
    found = the(helm_template(), kind)
    pod = found["spec"]["template"]["spec"] if kind == "Deployment" else found["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all(set(volume) == {"name", "emptyDir"} for volume in pod.get("volumes", []))
    for each in pod["containers"]:
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(each["resources"])
        assert not each["image"].endswith(":latest")
        assert ":" in each["image"]


def test_no_selector_of_the_operator_takes_the_pod_of_helm_test() -> None:
    objects = helm_template(values=EVERYTHING)
    labels = the(objects, "Pod")["metadata"]["labels"]
    selectors = [
        the(objects, "Deployment")["spec"]["selector"]["matchLabels"],
        the(objects, "Service")["spec"]["selector"],
        the(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        the(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert not selector.items() <= labels.items()
        assert selector.items() <= the(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()


def test_a_single_replica_has_no_disruption_budget() -> None:
    assert of_kind(helm_template(values={"replicas": 1}), "PodDisruptionBudget") == {}


@pytest.mark.parametrize(("kubernetes", "version"), [("1.20.0", "policy/v1beta1"), ("1.30.0", "policy/v1")])
def test_the_disruption_budget_is_of_a_version_that_the_cluster_serves(kubernetes: str, version: str) -> None:
    budget = the(helm_template(values={"replicas": 2}, kubernetes=kubernetes), "PodDisruptionBudget")
    assert budget["apiVersion"] == version
    assert budget["spec"]["maxUnavailable"] == 1


def test_every_other_object_is_of_a_version_that_all_clusters_serve() -> None:
    at_least_1_20 = {
        "admissionregistration.k8s.io/v1",
        "apiextensions.k8s.io/v1",
        "apps/v1",
        "networking.k8s.io/v1",
        "rbac.authorization.k8s.io/v1",
        "v1",
    }
    assert {each["apiVersion"] for each in helm_template(kubernetes="1.20.0")} <= at_least_1_20


def test_two_replicas_without_leader_election_are_refused() -> None:
    said = helm_refuses({"replicas": 2, "leaderElection": {"enabled": False}})
    assert "replicas is 2 and leaderElection.enabled is false: the pods would work against each other." in said


def test_without_leader_election_the_old_pod_ends_before_the_new_one_starts() -> None:
    objects = helm_template(values={"leaderElection": {"enabled": False}})
    strategy = the(objects, "Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    assert "--no-leader-election" in container(objects)["args"]
    assert of_kind(objects, "Role") == {}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"replica": 2}, "at '': additional properties 'replica' not allowed"),
        ({"crds": {"kept": True}}, "at '/crds': additional properties 'kept' not allowed"),
        ({"replicas": "two"}, "at '/replicas': got string, want integer"),
        ({"log": {"level": "loud"}}, "at '/log/level': value must be one of 'debug', 'info', 'warning', 'error'"),
        ({"watchNamespaces": "team-a"}, "at '/watchNamespaces': got string, want array"),
        ({"image": {"digest": "0815"}}, "at '/image/digest': '0815' does not match pattern"),
        ({"port": 80}, "at '/port': minimum: got 80, want 1,024"),
    ],
)
def test_a_mistake_in_the_values_is_told(values: Object, sentence: str) -> None:
    assert sentence in helm_refuses(values)


def test_a_parent_chart_may_hand_down_its_globals() -> None:
    assert helm_template(values={"global": {"domain": "example.com"}}) == helm_template()


def test_only_the_http_port_can_be_reached_and_egress_is_open() -> None:
    spec = the(helm_template(), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"] == [{"ports": [{"protocol": "TCP", "port": "http"}]}]


def test_egress_and_sources_can_be_limited_and_dns_stays() -> None:
    monitoring = {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    server = {"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}
    values = {"networkPolicy": {"from": [monitoring], "egress": [server]}}
    spec = the(helm_template(values=values), "NetworkPolicy")["spec"]
    assert spec["ingress"][0]["from"] == [monitoring]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    dns, last = spec["egress"]
    assert [each["port"] for each in dns["ports"]] == [53, 53]
    assert last == server


def test_objects_lie_in_the_release_s_namespace() -> None:
    cluster_wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    for each in helm_template(values=EVERYTHING):
        expected = None if each["kind"] in cluster_wide else NAMESPACE
        assert each["metadata"].get("namespace") == expected, each["metadata"]["name"]


def test_the_notes_say_what_comes_next() -> None:
    kept = notes({})
    assert "watches all namespaces" in kept
    assert "helm test tunesmith --namespace tunesmith-system" in kept
    assert "keeps the CustomResourceDefinitions and every FineTuneJob" in kept
    dropped = notes({"crds": {"keep": False}, "watchNamespaces": ["team-a", "team-b"]})
    assert "deletes the CustomResourceDefinitions and with them every FineTuneJob" in dropped
    assert "watches the namespaces team-a, team-b" in dropped
    assert "are not part of this release" in notes({"crds": {"enabled": False}})


def notes(values: Object) -> str:
    place = ("--namespace", NAMESPACE, "--values", "-", "--dry-run=client")
    return output("helm", "install", "tunesmith", str(CHART), *place, text=yaml.safe_dump(values)).partition("NOTES:")[
        2
    ]


class TestCrds:
    """The CustomResourceDefinitions of a release."""

    @pytest.mark.parametrize("name", KINDS)
    def test_they_are_what_the_models_say(self, name: str) -> None:
        rendered = of_kind(helm_template(), "CustomResourceDefinition")[f"{name}.tunesmith.dev"]
        generated = yaml.safe_load(read(f"crds/tunesmith.dev_{name}.yaml"))
        assert rendered["spec"] == generated["spec"]

    def test_they_are_kept_unless_the_user_says_otherwise(self) -> None:
        for each in of_kind(helm_template(), "CustomResourceDefinition").values():
            assert each["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        dropped = of_kind(helm_template(values={"crds": {"keep": False}}), "CustomResourceDefinition")
        assert len(dropped) == 3
        assert all("annotations" not in each["metadata"] for each in dropped.values())

    def test_they_carry_the_user_s_annotations(self) -> None:
        wave = {"argocd.argoproj.io/sync-wave": "-1"}
        for each in of_kind(helm_template(values={"crds": {"annotations": wave}}), "CustomResourceDefinition").values():
            assert each["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep", **wave}

    def test_they_can_be_left_out(self) -> None:
        assert of_kind(helm_template(values={"crds": {"enabled": False}}), "CustomResourceDefinition") == {}

    @pytest.mark.parametrize("name", KINDS)
    def test_servers_that_know_no_cel_get_none(self, name: str) -> None:
        old = of_kind(helm_template(kubernetes="1.20.0"), "CustomResourceDefinition")[f"{name}.tunesmith.dev"]
        generated = yaml.safe_load(read(f"crds/tunesmith.dev_{name}.yaml"))
        assert old["spec"] == without(generated["spec"], "x-kubernetes-validations")


def without(value: object, key: str) -> object:
    if isinstance(value, dict):
        return {name: without(each, key) for name, each in value.items() if name != key}
    return [without(each, key) for each in value] if isinstance(value, list) else value
