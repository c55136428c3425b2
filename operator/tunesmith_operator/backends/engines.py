"""How the engines that are not ours are started."""

import json
from collections.abc import Iterator, Mapping

from tunesmith_api.serving.engine import CustomServer, Engine, VllmArgs, option_of
from tunesmith_api.serving.vllm_options import LISTS, ONLY_ON, SWITCHES

_HOST = "0.0.0.0"  # noqa: S104 - the pod's own
# What vLLM's processes take to end once their last answer is out.
_ENDING_SECONDS = 10


def command_line(
    engine: Engine,
    *,
    model: str,
    name: str,
    port: int,
    grace_seconds: float,
    adapters: Mapping[str, str] | None = None,
) -> list[str]:
    """Return how vLLM serves the model in a folder under a name, with adapters (folders by name) beside it.

    When it is told to end, it finishes what it has begun, and is gone before the grace period is over.
    """
    return [
        "vllm",
        "serve",
        model,
        f"--served-model-name={name}",
        f"--host={_HOST}",
        f"--port={port}",
        # Without this it would cut off what it is writing.
        f"--shutdown-timeout={max(1, int(grace_seconds) - _ENDING_SECONDS)}",
        *_adapters(adapters or {}),
        *_typed(engine.args or VllmArgs()),
        *_further(engine.extra_args),
    ]


def custom_environment(custom: CustomServer, *, model: str, name: str) -> dict[str, str]:
    """Return the variables by which a server of the user's own finds the model's folder, its name and the port."""
    return {"TUNESMITH_MODEL": model, "TUNESMITH_MODEL_NAME": name, "TUNESMITH_PORT": str(custom.port)}


def _adapters(adapters: Mapping[str, str]) -> Iterator[str]:
    if not adapters:
        return
    yield "--enable-lora"
    # Each as JSON, in which a name or a path may have any character.
    yield "--lora-modules"
    for name, path in adapters.items():
        yield json.dumps({"name": name, "path": path}, separators=(",", ":"))


def _typed(args: VllmArgs) -> Iterator[str]:
    for field, value in args:
        if isinstance(value, bool):
            yield f"--{'' if value else 'no-'}{option_of(field)}"
        elif value is not None:
            yield f"--{option_of(field)}={value}"


def _further(options: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(options.items()):
        if name in SWITCHES:
            yield f"--{'' if value == 'true' else 'no-'}{name}"
        elif name in ONLY_ON:
            yield f"--{name}"
        elif name in LISTS:
            yield f"--{name}"
            yield from value.split()
        else:
            # In one word with its name, a value is never taken for another option.
            yield f"--{name}={value}"
