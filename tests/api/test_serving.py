"""What a ModelServe says of its requests reaches the gateway whole; what cannot be is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import model_serve
from tunesmith_api.contract import GatewayRun, RunIdentity, run_config
from tunesmith_api.serving.access import ApiKeys
from tunesmith_api.serving.prompt import Prompt
from tunesmith_api.traffic import GatewayPolicy, Routes, Upstream

POLICY: dict[str, Any] = {
    "auth": {"apiKeysSecretRef": {"name": "bot-keys"}},
    "limits": {"requestsPerMinute": 60},
    "requests": {"maxBytes": 2048},
    "hold": {"timeoutSeconds": 5},
    "traffic": {"provider": "gateway", "sticky": {"by": "header", "header": "x-team"}},
    "capture": {"uri": "pvc://data/traffic", "sample": 0.5},
    "logContents": True,
}
DIGEST = "0" * 64


def test_a_model_serves_policy_survives_the_trip_to_its_gateway() -> None:
    spec = model_serve(**POLICY).spec
    policy = {name: getattr(spec, name) for name in GatewayPolicy.model_fields}
    prompt = Prompt.model_validate_json('{"system": "Be kind.", "fewShot": [{"user": "2+2?", "assistant": "4"}]}')
    routes = Routes(**policy, upstreams=(Upstream(revision=1, url="http://bot:8000", weight=100, prompt=prompt),))
    found = Routes.model_validate_json(routes.model_dump_json(by_alias=True, exclude_none=True))
    assert found == routes
    assert found.limits == spec.limits
    assert found.requests.max_bytes == 2048


def test_a_gateways_run_survives_the_trip() -> None:
    run = RunIdentity(kind="ModelServe", namespace="default", name="bot", uid="u", attempt=1)
    config = GatewayRun(run=run, port=8000, drain_seconds=5)
    assert run_config.validate_json(config.model_dump_json(by_alias=True)) == config


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"traffic": {"sticky": {"by": "header"}}}, "sticky.header names the header for by: header"),
        ({"traffic": {"sticky": {"by": "key", "header": "x-team"}}}, "set both, or drop header"),
        ({"capture": {"uri": "hf://org/name"}}, "should match pattern"),
        ({"capture": {"uri": "pvc://data/traffic", "sample": 1.5}}, "less than or equal to 1"),
        ({"limits": {"requestsPerMinute": 0}}, "greater than or equal to 1"),
        ({"auth": {}}, "Field required"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(policy: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        model_serve(**policy)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"name": "a", "sha256": "1" * 64}, "two keys have the same name"),
        ({"name": "b", "sha256": DIGEST}, "two keys have the same sha256"),
        ({"name": "b", "sha256": "secret"}, "should match pattern"),
        ({"name": "b", "sha256": "1" * 64, "scopes": []}, "at least 1 item"),
        ({"name": "b", "sha256": "1" * 64, "scopes": ["admin"]}, "Input should be 'chat'"),
    ],
)
def test_keys_that_cannot_be_told_apart_or_read_are_refused(second: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ApiKeys.model_validate({"keys": ({"name": "a", "sha256": DIGEST}, second)}, strict=False)
