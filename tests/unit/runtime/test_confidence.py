"""Domain pairs that the first stage's reward model clearly contradicts are left out of the second stage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tunesmith_runtime.data import confidence
from tunesmith_runtime.errors import ConfigError, DataError, ModelError
from tunesmith_runtime.models.loading import load_model

NUMBERS = st.floats(-50, 50)
GENERAL = st.lists(NUMBERS, min_size=19, max_size=200)
DOMAIN = st.lists(NUMBERS, max_size=50)


@given(GENERAL, DOMAIN)
def test_what_is_kept_is_above_what_is_left_out(general: list[float], domain: list[float]) -> None:
    mask = confidence.keep(general, domain)
    margins = np.array(domain)
    assert mask.shape == margins.shape
    assert max(margins[~mask], default=-np.inf) < min(margins[mask], default=np.inf)


@given(GENERAL, DOMAIN)
def test_a_pair_that_the_first_stage_orders_as_people_did_is_kept(general: list[float], domain: list[float]) -> None:
    assert confidence.keep(general, domain)[np.array(domain, dtype=float) >= 0].all()


@given(GENERAL, st.floats(0.5, 0.95), st.floats(0.5, 0.95))
def test_more_confidence_leaves_out_less(general: list[float], one: float, other: float) -> None:
    assert confidence.lower_bound(general, max(one, other)) <= confidence.lower_bound(general, min(one, other))


@given(GENERAL)
def test_of_the_general_pairs_no_more_than_the_level_allows_is_left_out(general: list[float]) -> None:
    left_out = ~confidence.keep(general, general, level=0.95)
    assert left_out.sum() <= 0.05 * (len(general) + 1) + 1e-9


@given(GENERAL)
def test_the_order_of_the_general_pairs_does_not_matter(general: list[float]) -> None:
    shuffled = sorted(general)
    assert confidence.lower_bound(shuffled) == confidence.lower_bound(general)


def test_a_set_like_the_general_one_loses_little_and_one_of_wrong_labels_loses_most() -> None:
    draw = np.random.default_rng(0)
    general, alike = draw.normal(1.0, 1.0, 2000), draw.normal(1.0, 1.0, 20_000)
    # A margin of a pair whose label is wrong has the other sign.
    assert 1 - confidence.keep(general, alike).mean() == pytest.approx(0.05, abs=0.015)
    assert 1 - confidence.keep(general, -alike).mean() > 0.6


def test_the_bound_is_a_margin_that_was_seen_and_never_above_zero() -> None:
    general = [-3.0, -2.0, -1.0, *np.linspace(0.5, 5, 16)]
    assert confidence.lower_bound(general, 0.95) == -3.0
    assert confidence.lower_bound(general, 0.9) == -2.0
    assert confidence.lower_bound(general, 0.5) == 0.0


@pytest.mark.parametrize(("level", "needed"), [(0.95, 19), (0.9, 9), (0.99, 99)])
def test_too_few_general_pairs_for_the_level_are_refused(level: float, needed: int) -> None:
    confidence.lower_bound(np.ones(needed), level)
    with pytest.raises(DataError, match=f"needs {needed} general pairs held out and there are {needed - 1}; hold out"):
        confidence.lower_bound(np.ones(needed - 1), level)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(ConfigError, match="is not between 0 and 1"):
        confidence.lower_bound(np.ones(100), level)


def test_margins_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 20 margins of the general pairs are no numbers"):
        confidence.lower_bound([*np.ones(19), np.nan])


@pytest.fixture(scope="module")
def judge(tiny_path: Path) -> PreTrainedModel:
    return load_model(tiny_path, "causal-lm", torch.float32, reward=True, seed=1)


def pairs(number: int) -> list[dict[str, list[int]]]:
    draw = np.random.default_rng(1)

    def answer() -> list[int]:
        return list(map(int, draw.integers(3, 300, draw.integers(1, 20))))

    return [{"chosen_ids": answer(), "rejected_ids": answer()} for _ in range(number)]


@torch.no_grad()
def one_by_one(model: PreTrainedModel, rows: list[dict[str, list[int]]]) -> NDArray[np.float64]:
    def reward(ids: list[int]) -> float:
        return float(model(input_ids=torch.tensor([ids])).logits)

    return np.array([reward(row["chosen_ids"]) - reward(row["rejected_ids"]) for row in rows])


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_margins_do_not_depend_on_batches_and_padding(judge: PreTrainedModel, batch_size: int) -> None:
    rows = pairs(7)
    judge.train()
    found = confidence.margins(judge, rows, batch_size)
    assert judge.training
    judge.eval()
    np.testing.assert_allclose(found, one_by_one(judge, rows), atol=1e-5)


def test_no_pairs_have_no_margins(judge: PreTrainedModel) -> None:
    assert confidence.margins(judge, []).shape == (0,)


def test_a_reward_that_is_no_number_is_refused(tiny_path: Path) -> None:
    broken = load_model(tiny_path, "causal-lm", torch.float32, reward=True, seed=1)
    with torch.no_grad():
        broken.get_submodule("score").weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="gives 4 of 4 answers a reward that is no number"):
        confidence.margins(broken, pairs(2))


def test_a_model_that_does_not_say_what_pads_is_refused(tiny_path: Path) -> None:
    unpadded = load_model(tiny_path, "causal-lm", torch.float32, reward=True, seed=1)
    unpadded.config.pad_token_id = None
    with pytest.raises(ModelError, match="has no pad_token_id"):
        confidence.margins(unpadded, pairs(2))
