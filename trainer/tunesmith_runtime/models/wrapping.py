"""PEFT around a model: put on, loaded from a folder, merged. What PEFT does oddly is put right here."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import PeftConfig, PeftModel, get_peft_model
from peft.utils import ModulesToSaveWrapper
from transformers import PreTrainedModel

NAME = "default"

# PEFT's names of the types whose update can be added to the weights.
MERGEABLE = frozenset({"LORA", "IA3"})


@contextmanager
def quiet() -> Iterator[None]:
    """Keep PEFT from warning of what only PEFT can change."""
    with warnings.catch_warnings():
        # transformers has renamed a property that PEFT still asks for.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        # PEFT makes such patterns itself for the experts of a mixture, and finds none of them; ours are checked before.
        warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys", category=RuntimeWarning)
        yield


def wrap(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """Return the model with a new adapter, whose weights alone will learn."""
    with quiet():
        return get_peft_model(model, config)


def load(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Return the model with the adapter of the folder, in eval mode."""
    with quiet():
        return PeftModel.from_pretrained(model, folder).eval()


def mergeable(model: PeftModel) -> bool:
    """Return whether adapters of this type can be added to the weights."""
    return peft_type(model.peft_config[NAME]) in MERGEABLE


def merges(model: PeftModel) -> bool:
    """Return whether the adapter can be added to the weights as they are: its type can, and they are not quantised."""
    return mergeable(model) and not getattr(model, "is_quantized", False)


def merged(model: PeftModel) -> PreTrainedModel:
    """Return the model with its adapter added to the weights; the PeftModel is used up."""
    for name, module in list(model.named_modules()):
        # PEFT takes a head of several layers for one with weights of its own, and stumbles (IA3).
        if isinstance(module, ModulesToSaveWrapper):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.modules_to_save[NAME])
    return model.merge_and_unload()


def peft_type(config: PeftConfig) -> str:
    """Return PEFT's name of the adapter's type, such as LORA."""
    return str(getattr(config.peft_type, "value", config.peft_type))
