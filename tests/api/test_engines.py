"""Which engines a ModelServe takes, and what is said of options that vLLM does not have or must not be given."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import MODEL_SERVE_SPEC, manifest
from tunesmith_api.errors import explain
from tunesmith_api.resources import ModelServe, parse
from tunesmith_api.serving.engine import VllmArgs, option_of
from tunesmith_api.serving.vllm_options import LISTS, ONLY_ON, OWNED, SWITCHES, VALUES


def serve(engine: dict[str, Any]) -> ModelServe:
    found = parse(manifest("ModelServe", "bot", {**MODEL_SERVE_SPEC, "engine": engine}))
    assert isinstance(found, ModelServe)
    return found


def refused(**options: str) -> str:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    with pytest.raises(ValidationError) as error:
        serve({"type": "vllm", "extraArgs": named})
    (sentence,) = explain(error.value)
    return sentence.removeprefix("spec.engine: ")


def test_the_built_in_engine_needs_nothing() -> None:
    assert serve({}).spec.engine.type == "transformers"


def test_options_of_vllm() -> None:
    extra = {"max-log-len": "9", "enable-expert-parallel": "true", "disable-log-stats": "true"}
    engine = serve({"type": "vllm", "args": {"maxModelLen": 4096}, "extraArgs": extra}).spec.engine
    assert engine.args is not None
    assert engine.args.max_model_len == 4096


def test_an_option_that_vllm_does_not_have() -> None:
    assert refused(max_log_length="9").startswith(
        "extraArgs.max-log-length: vLLM has no such option; did you mean max-log-len"
    )
    assert refused(zzz="9") == "extraArgs.zzz: vLLM has no such option; see vllm serve --help=all"
    # Dashes in front and underscores are none of the name.
    assert "did you mean max-log-len" in refused(**{"--max-log-len": "9"})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model", "spec.model names the model"),
        ("port", "spec.port says this"),
        ("host", "the pod's server listens where its Service expects it"),
        ("api-key", "keys are checked in front of the server, and a command line is no place for secrets"),
        ("served-model-name", "clients call the model by the ModelServe's name"),
        ("trust-remote-code", "code that comes with a model is never run"),
        ("lora-modules", "it follows from the adapters"),
        ("shutdown-timeout", "answers that are under way have the pod's grace period"),
        ("middleware", "code is not named by the spec"),
    ],
)
def test_an_option_that_is_not_the_users(name: str, reason: str) -> None:
    assert refused(**{name: "true"}) == f"extraArgs.{name}: cannot be set: {reason}"
    assert refused(**{f"--{name}": "true"}).endswith(f"cannot be set: {reason}")


def test_an_option_that_has_a_field() -> None:
    assert refused(max_model_len="4096") == "extraArgs.max-model-len: args.maxModelLen says this; set it there"


def test_switches_are_on_or_off() -> None:
    assert refused(enable_expert_parallel="yes") == (
        "extraArgs.enable-expert-parallel: is a switch; set it to 'true' or 'false'"
    )
    assert "can only be switched on" in refused(disable_log_stats="false")


@pytest.mark.parametrize("value", ["", " ", "1 --api-key stolen", "-1"])
def test_lists_are_words(value: str) -> None:
    assert refused(cudagraph_capture_sizes=value) == (
        "extraArgs.cudagraph-capture-sizes: is a list; write words with spaces between them, none with a dash in front"
    )
    assert serve({"type": "vllm", "extraArgs": {"cudagraph-capture-sizes": "1 2 8"}})


def test_ranks_are_those_that_vllm_knows() -> None:
    assert serve({"type": "vllm", "args": {"maxLoraRank": 320}})
    with pytest.raises(ValidationError, match="maxLoraRank"):
        serve({"type": "vllm", "args": {"maxLoraRank": 12}})


def test_every_option_is_of_one_sort() -> None:
    typed = {option_of(name) for name in VllmArgs.model_fields}
    sorts = [VALUES, LISTS, SWITCHES, ONLY_ON, frozenset(OWNED), frozenset(typed)]
    assert sum(map(len, sorts)) == len(frozenset().union(*sorts))


def test_all_mistakes_at_once() -> None:
    assert refused(port="1", zzz="2").count("extraArgs.") == 2
