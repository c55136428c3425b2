"""One recipe for each method and family: how records become rows, and which Trainer learns from them."""

import importlib

from tunesmith_api.training import MethodType, Task
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.recipes.recipe import Recipe

# Where each recipe is: it is imported only when it is used, because TRL's trainers take seconds.
_PLACES: dict[tuple[Task, MethodType], tuple[str, str]] = {
    ("causal-lm", "sft"): ("causal", "SFT"),
    ("causal-lm", "pt"): ("causal", "PT"),
    ("causal-lm", "rm"): ("rewards", "RM"),
    ("causal-lm", "dpo"): ("dpo", "DPO"),
    ("causal-lm", "kto"): ("kto", "KTO"),
    ("causal-lm", "orpo"): ("orpo", "ORPO"),
    ("causal-lm", "grpo"): ("grpo", "GRPO"),
    ("causal-lm", "ppo"): ("ppo", "PPO"),
    ("causal-lm", "distill"): ("distill", "DISTILL"),
    ("masked-lm", "pt"): ("masked", "PT"),
    ("seq2seq-lm", "sft"): ("seq2seq", "SFT"),
    ("sequence-classification", "sft"): ("classification", "SFT"),
    ("token-classification", "sft"): ("tagging", "SFT"),
    ("question-answering", "sft"): ("answering", "SFT"),
}


def find(task: Task, method: MethodType) -> Recipe:
    """Return the recipe. Raises ConfigError, naming what the family can learn by, when there is none."""
    place = _PLACES.get((task, method))
    if place is None:
        methods = ", ".join(name for family, name in _PLACES if family == task)
        raise ConfigError(
            f"spec.method.type: a model of task {task} cannot learn by {method}; set it to one of {methods}"
        )
    module = importlib.import_module(f"{__name__}.{place[0]}")
    found: Recipe = getattr(module, place[1])
    return found
