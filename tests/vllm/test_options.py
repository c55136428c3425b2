"""The options that a ModelServe may set are those that vLLM has, and it takes them as they are written for it."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.vllm.pods import ENVIRONMENT
from tunesmith_api.serving.engine import Engine, VllmArgs, option_of
from tunesmith_api.serving.vllm_options import LISTS, ONLY_ON, OWNED, SWITCHES, VALUES
from tunesmith_operator.backends.engines import command_line

PLACE = {"model": "/tmp/served/model", "name": "bot", "port": 8000, "grace_seconds": 60.0}
ADAPTERS = {"formal": "/tmp/served/adapters/formal", "v1.5": "/tmp/served/adapters/v1.5"}
# What names no option but the model itself.
POSITIONAL = "model-tag"
TYPED: Mapping[str, Any] = {
    "maxModelLen": 4096,
    "tensorParallelSize": 2,
    "pipelineParallelSize": 2,
    "quantization": "fp8",
    "dtype": "bfloat16",
    "kvCacheDtype": "fp8",
    "gpuMemoryUtilization": 0.5,
    "maxNumSeqs": 64,
    "maxNumBatchedTokens": 8192,
    "maxLoras": 4,
    "maxLoraRank": 32,
    "enforceEager": True,
    "enablePrefixCaching": False,
    "enableChunkedPrefill": True,
    "seed": 7,
}


def asked_of_vllm(lines: Iterable[list[str]]) -> dict[str, Any]:
    """Return vLLM's options, and what it makes of command lines that begin with `vllm`."""
    parsing = Path(__file__).with_name("parsing.py")
    found = subprocess.run(
        [ENVIRONMENT / "bin" / "python", parsing],
        input=json.dumps([line[1:] for line in lines]),
        capture_output=True,
        text=True,
        cwd=ENVIRONMENT,
        env={"PATH": os.defpath},
        timeout=600,
    )
    assert found.returncode == 0, found.stderr
    return dict(json.loads(found.stdout.splitlines()[-1]))


@cache
def first_answer() -> dict[str, Any]:
    """Return what vLLM says of the line with all fields and with adapters: it takes a while to be asked anything."""
    engine = Engine.model_validate({"type": "vllm", "args": TYPED})
    return asked_of_vllm([command_line(engine, **PLACE, adapters=ADAPTERS)])  # type: ignore[arg-type]


def options() -> Mapping[str, dict[str, Any]]:
    """Return the options of `vllm serve` by name. Switches are there without their `no-`."""
    found = first_answer()["options"]
    return {name: each for name, each in found.items() if not (name[:3] == "no-" and name[3:] in found)}


def of_sort(sort: str) -> set[str]:
    """Return the options of vLLM that are of a sort and may be set in `extraArgs`."""
    theirs = {option_of(field) for field in VllmArgs.model_fields} | OWNED.keys()
    return {name for name, each in options().items() if each["sort"] == sort} - theirs


@pytest.mark.parametrize(
    ("sort", "ours"), [("value", VALUES), ("list", LISTS), ("switch", SWITCHES), ("only on", ONLY_ON)]
)
def test_extra_args_are_the_options_that_vllm_has(sort: str, ours: frozenset[str]) -> None:
    assert of_sort(sort) == ours


def test_what_fields_say_and_what_is_refused_are_options_that_vllm_has() -> None:
    named = {option_of(field) for field in VllmArgs.model_fields} | OWNED.keys()
    assert named - options().keys() == {POSITIONAL}


def test_vllm_takes_every_extra_arg_as_it_is_written_for_it() -> None:
    samples = {name: options()[name]["sample"] for name in VALUES | LISTS}
    assert [name for name, sample in samples.items() if sample is None] == [], "parsing.py needs samples of them"
    values = {name: [samples[name]] for name in VALUES}
    lists = {name: [f"{samples[name]} {samples[name]}"] for name in LISTS}
    switches = {name: ["true", "false"] for name in SWITCHES} | {name: ["true"] for name in ONLY_ON}
    asked = [(name, value) for name, each in (values | lists | switches).items() for value in each]
    engines = [Engine(type="vllm", extra_args={name: value}) for name, value in asked]
    taken = asked_of_vllm(command_line(engine, **PLACE) for engine in engines)["lines"]  # type: ignore[arg-type]

    refused = {name: found for (name, _), found in zip(asked, taken, strict=True) if isinstance(found, str)}
    assert refused == {}
    for (name, value), found in zip(asked, taken, strict=True):
        if name in SWITCHES | ONLY_ON:
            assert found[name.replace("-", "_")] == value.capitalize(), name


def test_vllm_takes_every_arg_as_it_is_written_for_it() -> None:
    assert {field.alias for field in VllmArgs.model_fields.values()} == TYPED.keys()
    (found,) = first_answer()["lines"]

    assert not isinstance(found, str), found
    for name, field in VllmArgs.model_fields.items():
        assert found[name] == str(TYPED[str(field.alias)]), name
    assert found["served_model_name"] == "['bot']"
    assert all(f"name='{name}', path='{path}'" in found["lora_modules"] for name, path in ADAPTERS.items())


@pytest.mark.parametrize("field", ["dtype", "max_lora_rank"])
def test_the_choices_of_a_field_are_those_of_vllm(field: str) -> None:
    (ours,) = (get_args(each) for each in get_args(VllmArgs.model_fields[field].annotation) if get_args(each))
    # Adapters of rank 1 fit where those of rank 8 do.
    assert {str(each) for each in ours} == set(options()[option_of(field)]["choices"]) - {"1"}
