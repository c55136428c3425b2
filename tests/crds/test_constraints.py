"""Every constraint of the schemas, on a current server, on an old one and offline: the bound is taken, no more."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tests.crds.constraints import Constraint, constraints
from tests.crds.fields import fields, place_of
from tests.crds.server import Answer, Server
from tests.crds.whole import whole
from tunesmith_api.base import Kind
from tunesmith_api.errors import explain
from tunesmith_api.resources import PLURALS, parse
from tunesmith_api.rules import RULES

Object = dict[str, Any]

ALL: list[Kind] = list(PLURALS)
SPEC = [each for kind in ALL for each in constraints(kind, "spec")]
STATUS = [each for kind in ALL for each in constraints(kind, "status")]
# Values that a field may have, while a rule over several fields speaks against them.
AGAINST_A_RULE = {
    "FineTuneJob spec.evaluation.suites[].golden.format enum",
    "FineTuneJob spec.tuning.metric maxLength",
    "FineTuneJob spec.tuning.metric minLength",
    "FineTuneJob spec.tuning.metric pattern",
    "FineTuneJob spec.tuning.parameters maxItems",
    "FineTuneJob spec.tuning.parameters x-kubernetes-list-type",
    "FineTuneJob spec.tuning.parameters[].name maxLength",
    "FineTuneJob spec.tuning.parameters[].name minLength",
    "FineTuneJob spec.tuning.parameters[].choice[] maxLength",
    "FineTuneJob spec.tuning.parameters[].choice[] minLength",
    "FineTuneJob spec.tuning.scheduler.type enum",
    "EvalJob spec.suites[].golden.format enum",
    "EvalJob spec.gates[].metric maxLength",
    "EvalJob spec.gates[].metric pattern",
    "ModelServe spec.retrieval.chunks.overlap maximum",
    "ModelServe spec.rollout.strategy enum",
    "ModelServe spec.scaling.minReplicas maximum",
    "ModelServe spec.traffic.provider enum",
    "ModelServe spec.traffic.provider null",
    "ModelServe spec.traffic.provider optional",
    "ModelServe spec.traffic.sticky.by enum",
    "ModelServe spec.engine.type enum",
}


@pytest.fixture(scope="module")
def stored(server: Server) -> Iterator[dict[Kind, Object]]:
    """A resource of each kind on the current server, for statuses to be written to."""
    made: dict[Kind, Object] = {}
    for kind in ALL:
        resource = whole(kind)[0] | {"metadata": {"name": "for-its-status", "namespace": "default"}}
        server.delete(resource)
        answer = server.create(resource, dry=False)
        assert answer.accepted, answer.message
        made[kind] = answer.body
    yield made
    for resource in made.values():
        server.delete(resource)


@pytest.mark.parametrize("kind", ALL)
def test_the_whole_resources_are_taken(server: Server, kind: Kind) -> None:
    for resource in whole(kind):
        answer = server.create(resource)
        assert answer.accepted, answer.message
        assert parse(resource)


@pytest.mark.parametrize("kind", ALL)
def test_the_whole_resources_hold_every_field(kind: Kind) -> None:
    for root in ("spec", "status"):
        for field in fields(kind, root):
            assert place_of(field).value is not None


@pytest.mark.parametrize("constraint", SPEC, ids=str)
def test_a_spec_on_a_current_server(server: Server, constraint: Constraint) -> None:
    check(constraint, lambda resource: server.create(without_status(resource)))


@pytest.mark.parametrize("constraint", STATUS, ids=str)
def test_a_status_on_a_current_server(server: Server, stored: dict[Kind, Object], constraint: Constraint) -> None:
    check(constraint, lambda resource: server.update_status(with_status_of(stored, resource)))


@pytest.mark.parametrize("constraint", SPEC, ids=str)
def test_a_spec_on_an_old_server(old_server: Server, constraint: Constraint) -> None:
    check_old(constraint, lambda resource: old_server.create(without_status(resource)))


@pytest.mark.parametrize("constraint", SPEC, ids=str)
def test_a_spec_offline(constraint: Constraint) -> None:
    place = place_of(constraint.field)
    # A server drops most nulls before anybody sees them; offline they are errors.
    if constraint.keyword != "null":
        for value in constraint.accepted:
            assert_taken_offline(constraint, place.holding(value))
    for value in constraint.refused:
        with pytest.raises(ValidationError) as error:
            parse(place.holding(value))
        # That a list names something twice is said of the list's owner.
        named = str(place).rpartition(".")[0] if constraint.words == "Duplicate value" else str(place)
        assert any(sentence.startswith(named) for sentence in explain(error.value)), explain(error.value)


def check(constraint: Constraint, submit: Any) -> None:
    """A current server takes the one, and refuses the other by the field's name and the keyword's words."""
    place = place_of(constraint.field)
    for value in constraint.accepted:
        assert_taken(constraint, submit(place.holding(value)))
    for value in constraint.refused:
        answer = submit(place.holding(value))
        assert not answer.accepted, f"{value!r} is taken"
        complaints = [each for each in answer.complaints if each.field == f"{place}{constraint.below}"]
        assert any(constraint.words in each.words for each in complaints), answer.message


def check_old(constraint: Constraint, submit: Any) -> None:
    """An old server takes and refuses the same; it has no rules, numbers no items and drops unknown fields."""
    place = place_of(constraint.field)
    for value in constraint.accepted:
        answer = submit(place.holding(value))
        assert answer.accepted, answer.message
    if constraint.keyword == "unknown":
        return
    for value in constraint.refused:
        answer = submit(place.holding(value))
        assert not answer.accepted, f"{value!r} is taken"
        assert without_numbers(str(place)) in [without_numbers(each.field) for each in answer.complaints], answer


def assert_taken(constraint: Constraint, answer: Answer) -> None:
    """The server has nothing against the object, unless it is a rule over several fields."""
    if not may_break_a_rule(constraint):
        assert answer.accepted, answer.message
    rules = [rule.message for rule in RULES[constraint.field.kind]]
    for complaint in answer.complaints:
        assert any(complaint.words.endswith(message) for message in rules), answer.message


def assert_taken_offline(constraint: Constraint, resource: Object) -> None:
    """The models have nothing against the value itself; beside other fields' it may be wrong."""
    against: list[ErrorDetails] = []
    try:
        parse(resource)
    except ValidationError as error:
        against = error.errors()
    for each in against:
        above = len(each["loc"]) - 1 < len(constraint.field.path)
        assert each["type"] == "combination" or (each["type"] == "value_error" and above), each


def may_break_a_rule(constraint: Constraint) -> bool:
    """Whether a value that the field takes can be wrong beside another field; tests/crds/examples.py has those."""
    parent = str(constraint.field).rpartition(".")[0]
    of_parent = any(rule.path == parent for rule in RULES[constraint.field.kind])
    is_missing = constraint.keyword in {"optional", "null"} and of_parent
    return is_missing or str(constraint) in AGAINST_A_RULE


def without_status(resource: Object) -> Object:
    return {name: value for name, value in resource.items() if name != "status"}


def with_status_of(stored: dict[Kind, Object], resource: Object) -> Object:
    """Return the stored resource with another one's status."""
    taken = {"status": resource["status"]} if "status" in resource else {}
    return without_status(stored[resource["kind"]]) | taken


def without_numbers(path: str) -> str:
    return re.sub(r"\[\d+\]", "", path)
