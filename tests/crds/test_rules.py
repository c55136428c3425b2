"""The CEL rules on a current server; offline, and on an old server, the operator says the same in the same words."""

import pytest
from pydantic import ValidationError

from tests.crds.examples import EXAMPLES, Examples, Object
from tests.crds.server import Complaint, Server
from tunesmith_api.base import API_VERSION, Kind
from tunesmith_api.errors import explain
from tunesmith_api.immutability import IMMUTABLE_ONCE_STARTED
from tunesmith_api.resources import PLURALS, parse
from tunesmith_api.rules import RULES


@pytest.mark.parametrize("kind", list(PLURALS))
def test_every_rule_has_examples(kind: Kind) -> None:
    shown = {examples.rule for examples in EXAMPLES if examples.kind == kind}
    # tests/crds/test_immutability.py makes the examples of these itself.
    of_transitions = {rule for rule in RULES[kind] if "oldSelf" in rule.rule}
    assert shown | of_transitions == set(RULES[kind])
    assert {rule.field for rule in of_transitions} == {f"spec.{name}" for name in IMMUTABLE_ONCE_STARTED.get(kind, ())}
    assert all(examples.taken and examples.refused for examples in EXAMPLES)


@pytest.mark.parametrize("examples", EXAMPLES, ids=str)
def test_a_current_server_keeps_the_rule(server: Server, examples: Examples) -> None:
    for resource in examples.resources_taken():
        answer = server.create(resource)
        assert answer.accepted, answer.message
    for resource in examples.resources_refused():
        answer = server.create(resource)
        assert answer.code == 422, resource
        assert answer.complaints == [Complaint(examples.place, f"Invalid value: {examples.message}")]


@pytest.mark.parametrize("examples", EXAMPLES, ids=str)
def test_offline_the_same_is_said_in_the_same_words(examples: Examples) -> None:
    for resource in examples.resources_taken():
        assert parse(resource)
    for resource in examples.resources_refused():
        assert_said(examples, resource)


@pytest.mark.parametrize("examples", EXAMPLES, ids=str)
def test_what_an_old_server_takes_the_operator_refuses_in_the_same_words(
    old_server: Server, examples: Examples
) -> None:
    for resource in examples.resources_taken():
        assert parse(as_read(old_server, resource))
    for resource in examples.resources_refused():
        assert_said(examples, as_read(old_server, resource))


def as_read(server: Server, resource: Object) -> Object:
    """Return the resource as the server would hand it out, defaults and all."""
    answer = server.create(resource)
    assert answer.accepted, answer.message
    return answer.body | {"apiVersion": API_VERSION}


def assert_said(examples: Examples, resource: Object) -> None:
    with pytest.raises(ValidationError) as error:
        parse(resource)
    (sentence,) = explain(error.value)
    where, _, words = sentence.partition(": ")
    assert examples.place.startswith(where)
    assert words.startswith(examples.message)
