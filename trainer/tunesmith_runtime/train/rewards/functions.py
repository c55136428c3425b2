"""Reward functions: those that come with the runtime, and those of the training image."""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence

from tunesmith_api.reinforcement import REWARD_FUNCTIONS
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.evaluate.text_metrics import exact_match, normalize_answer, token_f1

# Takes prompts, completions and each completion's references; returns a number for each completion.
RewardFunction = Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]]], Sequence[float]]


def contains_reference(answer: str, references: Sequence[str]) -> float:
    """Return 1 when the normalised answer has the words of a normalised reference in a row, else 0."""
    inside = f" {normalize_answer(answer)} "
    wanted = [normalize_answer(reference) for reference in references]
    return float(any(words and f" {words} " in inside for words in wanted))


def json_valid(answer: str, _: Sequence[str]) -> float:
    """Return 1 when the answer is a JSON value with nothing around it but blanks, else 0."""
    try:
        json.loads(answer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0


def word_count(answer: str, _: Sequence[str]) -> float:
    """Return the number of words between blanks."""
    return float(len(answer.split()))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_BUILT_IN: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "exactMatch": exact_match,
    "f1": token_f1,
    "containsReference": contains_reference,
    "jsonValid": json_valid,
    "wordCount": word_count,
}


def find(name: str) -> RewardFunction:
    """Return a built-in function, or that of `package.module:function`. Raises ConfigError when there is none."""
    module, separator, function = name.partition(":")
    if separator:
        return _imported(name, module, function)
    if name not in _BUILT_IN:
        raise ConfigError(f"spec.method.rewards: there is no function {name}; use {', '.join(REWARD_FUNCTIONS)}")
    one = _BUILT_IN[name]
    return lambda _, completions, references: [
        one(answer, wanted) for answer, wanted in zip(completions, references, strict=True)
    ]


def _imported(name: str, module: str, function: str) -> RewardFunction:
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # a module may do anything when it is imported
        raise ConfigError(
            f"spec.method.rewards: {name} cannot be imported: {type(error).__name__}: {error}; put the module into the "
            "training image, where Python finds it"
        ) from error
    found = getattr(loaded, function, None)
    if not callable(found):
        raise ConfigError(f"spec.method.rewards: {module} has no function {function}")
    reward: RewardFunction = found
    return reward
