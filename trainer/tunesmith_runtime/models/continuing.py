"""An adapter that was trained before goes on."""

from pathlib import Path

from peft import PeftConfig, PeftModel
from peft.utils import get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict
from safetensors import safe_open
from transformers import PreTrainedModel

from tunesmith_api.training import Adapter
from tunesmith_runtime.errors import ConfigError, ModelError
from tunesmith_runtime.models import wrapping
from tunesmith_runtime.models.adapted import adapter_folder, read_adapter_config
from tunesmith_runtime.models.heads import head_names

WEIGHTS = "adapter_model.safetensors"
_TYPES = {"lora": "LORA", "ia3": "IA3", "prefix-tuning": "PREFIX_TUNING", "prompt-tuning": "PROMPT_TUNING"}
_FIELD = "spec.method.adapter.continueFrom"


def check(adapter: Adapter, model: PreTrainedModel, task: str | None) -> None:
    """Raise ConfigError unless the adapter of `continueFrom` is of the same type and fits the model below its head.

    `model` may be without weights and know nothing of the classes yet, and is used up. `task` is PEFT's name of what it
    does.
    """
    folder, config = _found(adapter, task)
    config.inference_mode = True  # nothing is drawn from weights that may not be there
    heads = head_names(model)
    _compare(adapter, _wrapped(adapter, model, config), folder, [f".{head}." for head in heads])


def resume(adapter: Adapter, model: PreTrainedModel, task: str | None) -> PeftModel:
    """Return the model with the adapter of `continueFrom`, ready to learn.

    Raises as `check` does, also when its head is one for another number of classes.
    """
    folder, config = _found(adapter, task)
    config.inference_mode = False
    wrapped = _wrapped(adapter, model, config)
    _compare(adapter, wrapped, folder, [])
    set_peft_model_state_dict(wrapped, load_peft_weights(folder, device="cpu"))
    return wrapped


def _found(adapter: Adapter, task: str | None) -> tuple[Path, PeftConfig]:
    folder = adapter_folder(str(adapter.continue_from))
    config = read_adapter_config(folder)
    kind = wrapping.peft_type(config)
    if kind != _TYPES[adapter.type]:
        raise ConfigError(
            f"{_FIELD}: {folder} holds an adapter of type {kind}, and spec.method.adapter.type is {adapter.type}"
        )
    if config.task_type != task:
        raise ConfigError(
            f"{_FIELD}: the adapter in {folder} was trained for task {config.task_type}, and this job trains for {task}"
        )
    return folder, config


def _wrapped(adapter: Adapter, model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    config.base_model_name_or_path = model.name_or_path or None
    config.revision = None
    if config.is_prompt_learning:  # its sizes are to be this model's, not those that it was saved with
        on_input = wrapping.peft_type(config) == "PROMPT_TUNING"
        config.token_dim = model.get_input_embeddings().embedding_dim if on_input else None
        config.num_layers = config.num_attention_heads = 1 if on_input else None
    try:
        return wrapping.wrap(model, config)
    except ValueError as error:  # a module that it names is not there
        raise ConfigError(f"{_FIELD}: {_misfit(adapter, model)}: {' '.join(str(error).split())}") from error


def _compare(adapter: Adapter, wrapped: PeftModel, folder: Path, besides: list[str]) -> None:
    """Raise ConfigError when the folder's weights are not those of the adapter that was put onto the model.

    Weights whose names have a part that is in `besides` are passed over.
    """
    expected = _shapes(wrapped)
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            found = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except Exception as error:  # it may be missing, or cut short
        raise ModelError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name) and not any(part in name for part in besides):
            there, here = _words(found.get(name)), _words(expected.get(name))
            raise ConfigError(
                f"{_FIELD}: {_misfit(adapter, wrapped.get_base_model())}: {name} is {there} there and {here} here"
            )


def _shapes(wrapped: PeftModel) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the adapter's weights by the names that they are saved by."""
    if not wrapped.peft_config[wrapping.NAME].is_prompt_learning:
        weights = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        return {name: tuple(weight.shape) for name, weight in weights.items()}
    # The same, without computing the vectors: the model may be without weights.
    shapes = {"prompt_embeddings": tuple(wrapped.prompt_encoder[wrapping.NAME].embedding.weight.shape)}
    for name, weight in wrapped.named_parameters():
        if (head := f".modules_to_save.{wrapping.NAME}.") in name:
            shapes[name.replace(head, ".")] = tuple(weight.shape)
    return shapes


def _misfit(adapter: Adapter, model: PreTrainedModel) -> str:
    return f"the adapter in {adapter.continue_from} was made for another base model than this {type(model).__name__}"


def _words(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {'x'.join(map(str, shape))}"
