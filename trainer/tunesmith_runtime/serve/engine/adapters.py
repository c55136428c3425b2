"""Adapters on the served model, by the names that clients use."""

from pathlib import Path

from peft import PeftModel, PeftModelForCausalLM
from transformers import PreTrainedModel

from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.models import wrapping
from tunesmith_runtime.models.adapted import read_adapter_config
from tunesmith_runtime.models.tasks import task_of_folder


class Adapters:
    """The adapters of a model, one of which, or none, is in use at a time. Only the model's own thread may call it."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._peft: PeftModel | None = None
        # Clients' names by PEFT's, which may hold no dots.
        self._names: dict[str, str] = {}
        self._loaded = 0
        self._used: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all, in the order in which they came."""
        return tuple(self._names)

    def load(self, name: str, folder: Path) -> None:
        """Load the adapter of a folder beside the others. Raises ModelError when it does not fit."""
        if name in self._names:
            raise ModelError(f"an adapter {name} is loaded already; unload it first, or take another name")
        if isinstance(self._model, PeftModel):
            raise ModelError(
                "the model that is served is an adapter that cannot be merged, and takes no others; serve its base"
            )
        if (task := task_of_folder(folder)) != "causal-lm":
            raise ModelError(f"{folder} is an adapter for task {task}, and the model that is served is a causal-lm")
        config = read_adapter_config(folder)
        config.inference_mode = True
        kind = wrapping.peft_type(config)
        if kind not in wrapping.MERGEABLE:
            raise ModelError(f"{folder}: an adapter of type {kind} cannot be served beside others; serve it by itself")
        others = {wrapping.peft_type(each) for each in self._peft.peft_config.values()} if self._peft else set()
        if others - {kind}:
            raise ModelError(f"{folder} is of type {kind}, and adapters of type {others.pop()} are loaded already")
        key = f"adapter{self._loaded}"
        try:
            with wrapping.quiet():
                if self._peft is None:
                    self._peft = PeftModelForCausalLM(self._model, config, adapter_name=key)
                self._peft.load_adapter(str(folder), key)
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            self._forget(key)
            sentence = " ".join(str(error).split())[:300]
            raise ModelError(
                f"{folder}: the adapter {name} does not fit the model that is served: {sentence}"
            ) from error
        self._peft.eval()
        self._loaded += 1
        self._names[name] = key
        self._used = name
        self._switch(None)

    def unload(self, name: str) -> None:
        """Forget an adapter."""
        self._forget(self._names[name])
        del self._names[name]
        self._switch(None)

    def use(self, name: str | None) -> None:
        """Have the model's next computations be those of an adapter, or of the model alone."""
        if name != self._used:
            self._switch(name)

    def _switch(self, name: str | None) -> None:
        self._used = name
        if self._peft is None:
            return
        if name is None:
            self._peft.base_model.disable_adapter_layers()
            return
        self._peft.base_model.enable_adapter_layers()
        self._peft.set_adapter(self._names[name], inference_mode=True)

    def _forget(self, key: str) -> None:
        if self._peft is None or key not in self._peft.peft_config:
            return
        others = [each for each in self._peft.peft_config if each != key]
        if others:
            self._peft.set_adapter(others[0], inference_mode=True)
            self._peft.delete_adapter(key)
        else:
            self._peft.unload()
            self._peft = None
