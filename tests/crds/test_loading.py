"""The definitions on a current server: sound, served, complete, and with the defaults that the models have."""

import pytest
from pydantic import ValidationError

from tests.builders import EVAL_JOB_SPEC, FINE_TUNE_JOB_SPEC, MODEL_SERVE_SPEC, manifest
from tests.crds.fields import schema_of
from tests.crds.server import Complaint, Object, Server
from tunesmith_api.base import Kind
from tunesmith_api.errors import explain
from tunesmith_api.resources import PLURALS, parse

ALL: list[Kind] = list(PLURALS)
SPECS: dict[Kind, Object] = {
    "FineTuneJob": FINE_TUNE_JOB_SPEC,
    "EvalJob": EVAL_JOB_SPEC,
    "ModelServe": MODEL_SERVE_SPEC,
}
LONGEST = "a" * 52


@pytest.mark.parametrize("kind", ALL)
def test_a_definition_is_sound_and_served(server: Server, kind: Kind) -> None:
    conditions = {each["type"]: each["status"] for each in server.definition(kind)["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions


@pytest.mark.parametrize("kind", ALL)
def test_the_server_drops_nothing_of_a_schema(server: Server, kind: Kind) -> None:
    (version,) = server.definition(kind)["spec"]["versions"]
    assert version["schema"]["openAPIV3Schema"] == schema_of(kind)


@pytest.mark.parametrize("kind", ALL)
def test_the_server_fills_in_the_defaults_of_the_models(server: Server, kind: Kind) -> None:
    resource = manifest(kind, "bot", SPECS[kind])
    answer = server.create(resource)
    assert answer.body["spec"] == parse(resource).spec.to_json()
    assert parse(answer.body).spec == parse(resource).spec


@pytest.mark.parametrize("kind", ALL)
def test_names_leave_room_for_those_that_are_made_from_them(server: Server, kind: Kind) -> None:
    for name in (LONGEST, "a", "7-b"):
        answer = server.create(manifest(kind, name, SPECS[kind]))
        assert answer.accepted, answer.message
    refused = server.create(manifest(kind, f"{LONGEST}a", SPECS[kind]))
    assert refused.complaints == [Complaint("metadata.name", "Too long: may not be more than 52 bytes")]
    for name in ("a.b", "My-Bot", "-a"):
        refused = server.create(manifest(kind, name, SPECS[kind]))
        said = [each.words for each in refused.complaints if each.field == "metadata.name"]
        assert any("should match" in words for words in said), refused.message


@pytest.mark.parametrize("kind", ALL)
def test_a_generated_name_will_do(server: Server, kind: Kind) -> None:
    resource = manifest(kind, "", SPECS[kind])
    resource["metadata"] = {"generateName": "bot-", "namespace": "default"}
    answer = server.create(resource)
    assert answer.accepted, answer.message
    assert answer.body["metadata"]["name"].startswith("bot-")


@pytest.mark.parametrize("kind", ALL)
def test_offline_the_same_names_are_refused(kind: Kind) -> None:
    assert parse(manifest(kind, LONGEST, SPECS[kind]))
    for name in (f"{LONGEST}a", "a.b", "My-Bot", "-a"):
        with pytest.raises(ValidationError) as error:
            parse(manifest(kind, name, SPECS[kind]))
        (sentence,) = explain(error.value)
        assert sentence.startswith("metadata.name: ")
