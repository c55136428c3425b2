"""config/ is the same install as the chart with its default values."""

from typing import Any

import pytest

from tests.unit.charts.rendered import KINDS, Object, helm_template, kustomize

# Helm says in labels which release an object is of; kustomize knows no releases.
RELEASE_LABELS = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
}
LABELS = {
    "app.kubernetes.io/name": "tunesmith",
    "app.kubernetes.io/part-of": "tunesmith",
}


def told(value: Any) -> Any:
    """Return an object without the labels that tell apart releases, at any depth."""
    if isinstance(value, dict):
        return {name: told(each) for name, each in value.items() if name not in RELEASE_LABELS}
    return [told(each) for each in value] if isinstance(value, list) else value


def by_name(objects: list[Object]) -> dict[str, Object]:
    """Return the objects by kind and name, without what Helm's annotations say and without labels of objects."""
    found = {}
    for each in objects:
        plain = told(each)
        labels = plain["metadata"].pop("labels")
        plain["metadata"].pop("annotations", None)
        if template := plain["spec"].get("template", {}) if plain["kind"] == "Deployment" else None:
            template["metadata"]["labels"].pop("app.kubernetes.io/part-of", None)
        plain["metadata"]["aggregated"] = sorted(name for name in labels if "aggregate-to-" in name)
        found[f"{plain['kind']} {plain['metadata']['name']}"] = plain
    return found


def test_the_default_install_is_the_chart_s() -> None:
    expected = by_name(helm_template(values={"crds": {"enabled": False}}))
    del expected["Pod tunesmith-test"]
    rendered = by_name(kustomize("config/default"))
    namespace = rendered.pop("Namespace tunesmith-system")
    assert namespace["apiVersion"] == "v1"
    assert set(rendered) == set(expected)
    for name, each in rendered.items():
        assert each == expected[name], name


def test_the_crds_are_the_chart_s() -> None:
    expected = by_name([each for each in helm_template() if each["kind"] == "CustomResourceDefinition"])
    assert by_name(kustomize("config/crd")) == expected
    assert set(expected) == {f"CustomResourceDefinition {kind}.tunesmith.dev" for kind in KINDS}


@pytest.mark.parametrize("folder", ["config/crd", "config/rbac", "config/operator", "config/default"])
def test_every_object_says_that_it_belongs_to_tunesmith(folder: str) -> None:
    for each in kustomize(folder):
        assert each["metadata"]["labels"].items() >= LABELS.items(), each["metadata"]["name"]


def test_the_namespace_admits_restricted_pods_only() -> None:
    (namespace,) = (each for each in kustomize("config/default") if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
