"""The CRDs are structural, complete and up to date."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tools.generate import ROOT, generated

from tests.builders import eval_job, fine_tune_job, model_serve
from tunesmith_api.base import Kind
from tunesmith_api.crd import custom_resource_definition
from tunesmith_api.resources import KINDS, PLURALS
from tunesmith_api.schema import structural_schema

ALL: list[Kind] = list(PLURALS)
STRUCTURAL = {
    "type", "description", "properties", "required", "items", "enum", "default", "pattern", "format", "minimum",
    "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
    "additionalProperties", "maxProperties",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
}  # fmt: skip


def schema_of(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from walk(field, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")


@pytest.mark.parametrize("kind", ALL)
def test_every_schema_is_structural(kind: Kind) -> None:
    for path, node in walk(schema_of(kind)):
        assert set(node) <= STRUCTURAL, path
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path
        assert node.get("default") != "", path
        assert isinstance(node.get("exclusiveMinimum", False), bool), path


@pytest.mark.parametrize("kind", ALL)
def test_every_field_is_described(kind: Kind) -> None:
    for path, node in walk(schema_of(kind)):
        if path not in {"", ".metadata"} and not path.endswith("[]"):
            assert node.get("description"), path


@pytest.mark.parametrize("kind", ALL)
def test_lists_and_strings_of_a_spec_are_bounded_so_that_rules_are_cheap(kind: Kind) -> None:
    for path, node in walk(schema_of(kind)["properties"]["spec"]):
        if node.get("type") == "array":
            assert "maxItems" in node, path
            assert "x-kubernetes-list-type" in node, path
        if node.get("type") == "string" and "enum" not in node:
            assert "maxLength" in node, path


@pytest.mark.parametrize("kind", ALL)
def test_keys_of_list_maps_are_required(kind: Kind) -> None:
    for path, node in walk(schema_of(kind)):
        for key in node.get("x-kubernetes-list-map-keys", []):
            assert key in node["items"]["required"], path


@pytest.mark.parametrize("kind", ALL)
def test_columns_show_fields_that_exist(kind: Kind) -> None:
    version = custom_resource_definition(kind)["spec"]["versions"][0]
    paths = {path for path, _ in walk(schema_of(kind))}
    for column in version["additionalPrinterColumns"]:
        path = re.sub(r"\[.*?\]", "[]", column["jsonPath"])
        assert path in paths or path == ".metadata.creationTimestamp", column


@pytest.mark.parametrize("kind", ALL)
def test_names_and_subresources(kind: Kind) -> None:
    spec = custom_resource_definition(kind)["spec"]
    assert spec["names"]["shortNames"] == [{"FineTuneJob": "ftj", "EvalJob": "evj", "ModelServe": "mserve"}[kind]]
    assert spec["names"]["categories"] == ["tunesmith"]
    scaled = {"scale"} if kind == "ModelServe" else set()
    assert set(spec["versions"][0]["subresources"]) == {"status"} | scaled


def test_what_is_scaled_has_the_fields_that_the_autoscaler_goes_by() -> None:
    (version,) = custom_resource_definition("ModelServe")["spec"]["versions"]
    paths = {path for path, _ in walk(schema_of("ModelServe"))}
    assert set(version["subresources"]["scale"].values()) <= paths


@pytest.mark.parametrize("resource", [fine_tune_job(), eval_job(), model_serve()], ids=lambda each: each.kind)
def test_defaults_are_those_that_the_models_fill_in(resource: Any) -> None:
    schema = schema_of(resource.kind)["properties"]["spec"]
    spec = resource.spec.to_json()
    for name, field in schema["properties"].items():
        if "default" in field:
            assert spec[name] == field["default"], name


def test_started_jobs_are_immutable_by_rule() -> None:
    rules = schema_of("FineTuneJob")["x-kubernetes-validations"]
    assert "spec.model cannot change once the FineTuneJob has started; delete it and create it again" in {
        rule["message"] for rule in rules
    }


def test_what_a_crd_cannot_say_is_refused() -> None:
    from pydantic import BaseModel

    class Union(BaseModel):
        value: int | list[str]

    with pytest.raises(ValueError, match="a CRD cannot say the union"):
        structural_schema(Union)


def test_generated_files_are_up_to_date() -> None:
    for path, text in generated().items():
        assert (ROOT / path).read_text() == text, f"{path}: run `make generate`"


def test_there_is_a_crd_for_each_kind() -> None:
    assert sorted(path.name for path in (ROOT / "crds").iterdir()) == sorted(
        f"tunesmith.dev_{plural}.yaml" for plural in PLURALS.values()
    )
    assert set(KINDS) == set(PLURALS)
