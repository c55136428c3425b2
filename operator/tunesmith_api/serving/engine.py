"""What answers the requests of a ModelServe."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, ObjectName
from tunesmith_api.serving.vllm_options import LISTS, ONLY_ON, OWNED, SWITCHES, VALUES

EngineType = Literal["transformers", "vllm", "custom"]
_Argument = Annotated[str, StringConstraints(max_length=4096)]

ARGS_OF_VLLM = "args and extraArgs are for type vllm; leave them out, or set type to vllm"
CUSTOM_OF_CUSTOM = "custom is for type custom; leave it out, or set type to custom"
CUSTOM_NEEDED = "type custom needs custom, with an image"


class VllmArgs(ApiModel):
    """Options of `vllm serve` under the names that a spec uses. Those that are left out are as vLLM has them."""

    max_model_len: int | None = Field(
        default=None, ge=1, le=16_777_216, description="Tokens of a prompt and its answer together."
    )
    tensor_parallel_size: int | None = Field(
        default=None, ge=1, le=64, description="GPUs that each layer is split over. resources.gpu must have as many."
    )
    pipeline_parallel_size: int | None = Field(
        default=None, ge=1, le=64, description="Groups of GPUs that the layers are dealt to."
    )
    quantization: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z0-9_-]+$")] | None = (
        Field(
            default=None, description="How weights are quantised, such as awq, gptq or fp8. Default: as the model says."
        )
    )
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = Field(
        default=None, description="Type of weights and activations."
    )
    kv_cache_dtype: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-z0-9_-]+$")] | None = (
        Field(default=None, description="Type of keys and values, such as auto or fp8.")
    )
    gpu_memory_utilization: float | None = Field(
        default=None, gt=0, le=1, description="Share of each GPU's memory that vLLM takes."
    )
    max_num_seqs: int | None = Field(
        default=None, ge=1, le=65536, description="Answers that are written at the same time."
    )
    max_num_batched_tokens: int | None = Field(
        default=None, ge=1, le=16_777_216, description="Tokens that are computed in one step."
    )
    max_loras: int | None = Field(default=None, ge=1, le=1024, description="Adapters that answer in the same step.")
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] | None = Field(
        default=None, description="The highest rank that an adapter may have; 16 if left out."
    )
    enforce_eager: bool | None = Field(
        default=None, description="Run without CUDA graphs: a faster start, slower answers."
    )
    enable_prefix_caching: bool | None = Field(
        default=None, description="Keep what prompts begin with for those that begin in the same way."
    )
    enable_chunked_prefill: bool | None = Field(
        default=None, description="Read long prompts in pieces, between which answers go on."
    )
    seed: int | None = Field(default=None, ge=0, le=2_147_483_647, description="Seed of what is drawn.")


class CustomServer(ApiModel):
    """A server of your own that speaks OpenAI's API."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] = Field(
        description="Image of the container. The model's folder is in $TUNESMITH_MODEL, its name for clients in "
        "$TUNESMITH_MODEL_NAME, and the port in $TUNESMITH_PORT."
    )
    command: tuple[_Argument, ...] = Field(
        default=(),
        max_length=64,
        description="What is run instead of the image's own entrypoint.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    args: tuple[_Argument, ...] = Field(
        default=(),
        max_length=256,
        description="Its arguments. $(TUNESMITH_MODEL) and the like stand for the variables' values.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    port: int = Field(default=8000, ge=1, le=65535, description="Port that the server listens on.")
    health_path: Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^/[A-Za-z0-9._~/-]*$")] = (
        Field(default="/health", description="Path that answers 200 when the server takes requests.")
    )


class ModelCache(ApiModel):
    """A volume that keeps models."""

    claim_name: ObjectName = Field(description="PersistentVolumeClaim that all pods can mount.")


class Engine(ApiModel):
    """What answers requests."""

    type: EngineType = Field(
        default="transformers",
        description="transformers: the built-in server on transformers and PEFT, for any model they load. vllm: vLLM, "
        "for GPUs under load; podTemplate.image names an image that has it. custom: an image of your own.",
    )
    args: VllmArgs | None = Field(default=None, description="Options of vLLM.")
    extra_args: dict[str, _Argument] = Field(
        default={},
        max_length=64,
        description="More options of `vllm serve`, by name without dashes in front, such as max-log-len: '200'. Of "
        "switches, 'true' or 'false'; of several values, words with spaces between them. What another field of the "
        "spec says is refused.",
    )
    custom: CustomServer | None = Field(default=None, description="The server of type custom.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.type != "vllm" and (self.args is not None or self.extra_args):
            raise ValueError(ARGS_OF_VLLM)
        if self.type != "custom" and self.custom is not None:
            raise ValueError(CUSTOM_OF_CUSTOM)
        if self.type == "custom" and self.custom is None:
            raise ValueError(CUSTOM_NEEDED)
        if wrong := [*_refused(self.extra_args)]:
            raise ValueError("; ".join(wrong))
        return self


def option_of(field: str) -> str:
    """Return the name of vLLM's option for a field of `VllmArgs`."""
    return field.replace("_", "-")


_TYPED: Mapping[str, str] = {option_of(name): str(field.alias) for name, field in VllmArgs.model_fields.items()}

_ALLOWED = VALUES | LISTS | SWITCHES | ONLY_ON


def _refused(options: Mapping[str, str]) -> Iterator[str]:
    """Yield why options cannot be there."""
    for name, value in options.items():
        plain = name.lstrip("-").replace("_", "-")
        if plain in OWNED:
            yield f"extraArgs.{name}: cannot be set: {OWNED[plain]}"
        elif plain in _TYPED:
            yield f"extraArgs.{name}: args.{_TYPED[plain]} says this; set it there"
        elif name not in _ALLOWED:
            close = difflib.get_close_matches(plain, [*_ALLOWED, *_TYPED], n=3)
            hint = f"; did you mean {' or '.join(close)}?" if close else "; see vllm serve --help=all"
            yield f"extraArgs.{name[:100]}: vLLM has no such option{hint}"
        elif name in SWITCHES and value not in ("true", "false"):
            yield f"extraArgs.{name}: is a switch; set it to 'true' or 'false'"
        elif name in ONLY_ON and value != "true":
            yield f"extraArgs.{name}: can only be switched on; set it to 'true', or leave it out"
        elif name in LISTS and (not value.split() or any(word.startswith("-") for word in value.split())):
            yield f"extraArgs.{name}: is a list; write words with spaces between them, none with a dash in front"
