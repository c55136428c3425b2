"""What each extra brings along."""

from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEAVY = {"torch", "ray", "transformers", "datasets", "peft", "trl", "accelerate", "numpy"}


def brought_by(extra: str) -> set[str]:
    """Return the distributions that `pip install tunesmith[extra]` installs, by their metadata."""
    found: set[str] = set()
    waiting = [("tunesmith", frozenset({extra}))]
    while waiting:
        name, extras = waiting.pop()
        for text in distribution(name).requires or []:
            needed = Requirement(text)
            environments = [{"extra": each} for each in extras] or [{"extra": ""}]
            if needed.marker and not any(needed.marker.evaluate(each) for each in environments):
                continue
            key = canonicalize_name(needed.name)
            if key not in found:
                found.add(key)
                waiting.append((key, frozenset(needed.extras)))
    return found


def test_the_operator_alone_brings_no_machine_learning_library() -> None:
    brought = brought_by("operator")
    assert brought & HEAVY == set()
    assert {"pydantic", "typer", "rich", "pyyaml"} <= brought


@pytest.mark.parametrize("library", sorted(HEAVY))
def test_the_runtime_brings_them(library: str) -> None:
    assert library in brought_by("runtime")
