"""Kubernetes 1.20 takes the definitions; it drops the rules, so that the operator has to keep them."""

from collections.abc import Iterator

import pytest

from tests.builders import EVAL_JOB_SPEC, FINE_TUNE_JOB_SPEC, MODEL_SERVE_SPEC, manifest
from tests.crds.server import Object, Server
from tunesmith_api.base import API_VERSION, GROUP, Kind
from tunesmith_api.crd import custom_resource_definition
from tunesmith_api.resources import PLURALS, parse

ALL: list[Kind] = list(PLURALS)
SPECS: dict[Kind, Object] = {
    "FineTuneJob": FINE_TUNE_JOB_SPEC,
    "EvalJob": EVAL_JOB_SPEC,
    "ModelServe": MODEL_SERVE_SPEC,
}
ANNOTATIONS = {"example.com/why": "a test", "kubectl.kubernetes.io/last-applied-configuration": '{"spec": {}}\n'}


@pytest.fixture(params=ALL)
def stored(request: pytest.FixtureRequest, old_server: Server) -> Iterator[Object]:
    """A resource with annotations, as the server has stored it."""
    kind: Kind = request.param
    resource = manifest(kind, "annotated", SPECS[kind])
    resource["metadata"]["annotations"] = ANNOTATIONS
    old_server.delete(resource)
    answer = old_server.create(resource, dry=False)
    assert answer.accepted, answer.message
    yield answer.body
    old_server.delete(resource)


@pytest.mark.parametrize("kind", ALL)
def test_it_takes_our_definitions(old_server: Server, kind: Kind) -> None:
    assert GROUP in custom_resource_definition(kind)["metadata"]["name"]
    answer = old_server.try_definition(custom_resource_definition(kind))
    assert answer.accepted, answer.message


@pytest.mark.parametrize("kind", ALL)
def test_it_serves_them(old_server: Server, kind: Kind) -> None:
    definition = old_server.definition(kind)
    conditions = {each["type"]: each["status"] for each in definition["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions
    assert "x-kubernetes-validations" not in str(definition)


def test_it_stores_a_resource_with_its_annotations_and_our_defaults(stored: Object) -> None:
    assert stored["metadata"]["annotations"] == ANNOTATIONS
    read = parse(stored | {"apiVersion": API_VERSION})
    assert read.metadata.annotations == ANNOTATIONS
    assert stored["spec"] == read.spec.to_json()


@pytest.mark.parametrize("kind", ALL)
def test_it_keeps_names_short_too(old_server: Server, kind: Kind) -> None:
    assert old_server.create(manifest(kind, "a" * 52, SPECS[kind])).accepted
    refused = old_server.create(manifest(kind, "a" * 53, SPECS[kind]))
    assert [each.field for each in refused.complaints] == ["metadata.name"]
