"""Settings of the methods that learn from rewards or from a teacher."""

import pytest
from pydantic import ValidationError

from tunesmith_api.reinforcement import (
    REWARD_FUNCTIONS,
    Distillation,
    GroupRelative,
    ProximalPolicy,
    Reward,
    ungrouped,
)


@pytest.mark.parametrize("function", [*REWARD_FUNCTIONS, "judges:polite", "acme.judges.tone:polite_2"])
def test_a_reward_may_be_a_function(function: str) -> None:
    assert Reward.model_validate({"function": function}).name == function


def test_a_reward_may_be_a_model() -> None:
    given = {"model": "finetunejob://judge", "weight": 0.5}
    assert Reward.model_validate(given).to_json() == given


@pytest.mark.parametrize("given", [{}, {"model": "pvc://models/judge", "function": "f1"}])
def test_a_reward_is_one_of_both(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="a reward is either a model or a function; set one of the two"):
        Reward.model_validate(given)


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(ValidationError, match="there is no reward function politeness; use exactMatch, f1, "):
        Reward.model_validate({"function": "politeness"})


@pytest.mark.parametrize("function", ["a b", "judges:", ":polite", "judges:polite()", "../judges:polite"])
def test_what_cannot_be_a_functions_name_is_refused(function: str) -> None:
    with pytest.raises(ValidationError, match="should match pattern"):
        Reward.model_validate({"function": function})


def test_settings_have_the_names_of_trl() -> None:
    assert set(GroupRelative().to_json()) == {
        *("numGenerations", "maxCompletionLength", "temperature", "topP", "beta", "epsilon", "numIterations"),
        "lossType",
    }
    assert {"klCoef", "clipRange", "clipRangeValue", "vfCoef", "lam"} < set(ProximalPolicy().to_json())
    distil = Distillation.model_validate({"teacher": "hf://org/teacher"})
    assert set(distil.to_json()) == {"teacher", "maxCompletionLength", "temperature", "beta", "lmbda"}


def test_whole_groups() -> None:
    assert ungrouped(4, 2, 3, num_generations=8) is None
    assert ungrouped(4, 1, 3, num_generations=8) == (
        "an optimizer step has 12 sequences (perDeviceTrainBatchSize 4 x gradientAccumulationSteps 1 x 3 devices), "
        "which is no multiple of numGenerations 8; change one of them"
    )
