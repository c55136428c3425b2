"""Rewards, advantages and whitening equal what is worked out by hand."""

import pytest
import torch

from tunesmith_runtime.train.ppo.advantages import generalised_advantages, token_rewards, whitened

# Two answers, of three tokens and of one.
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])


def test_a_score_is_earned_at_the_last_token_and_each_token_pays_for_leaving_the_reference() -> None:
    kl = torch.tensor([[0.5, 0.0, 1.0], [-2.0, 9.0, 9.0]])
    rewards = token_rewards(torch.tensor([3.0, 4.0]), kl, MASK, kl_coef=0.1)
    assert torch.allclose(rewards, torch.tensor([[-0.05, 0.0, 2.9], [4.2, 0.0, 0.0]]))


def test_advantages_are_worked_out_from_the_end() -> None:
    rewards = torch.tensor([[0.0, 1.0, 2.0], [4.0, 7.0, 7.0]])
    values = torch.tensor([[1.0, 2.0, 4.0], [3.0, 8.0, 8.0]])
    advantages = generalised_advantages(rewards, values, MASK, gamma=0.5, lam=0.8)
    # delta: 2 - 4 = -2;  1 + 0.5*4 - 2 = 1;  0 + 0.5*2 - 1 = 0;  and 4 - 3 = 1 for the answer of one token.
    # gamma*lam = 0.4: -2;  1 + 0.4*-2 = 0.2;  0 + 0.4*0.2 = 0.08.
    assert torch.allclose(advantages, torch.tensor([[0.08, 0.2, -2.0], [1.0, 0.0, 0.0]]))


def test_with_gamma_and_lambda_1_an_advantage_is_the_rest_of_the_rewards_less_the_value() -> None:
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 0.25, 1.0]])
    advantages = generalised_advantages(rewards, values, MASK[:1], gamma=1, lam=1)
    assert torch.allclose(advantages, torch.tensor([[5.5, 4.75, 2.0]]))


def test_whitening_looks_at_valid_tokens_only() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0], [6.0, 99.0, 99.0]])
    # Mean of 1, 2, 3, 6 is 3; the squares of -2, -1, 0, 3 add up to 14; 14 / 3 is the variance.
    scale = (14 / 3) ** -0.5
    white = whitened(values, MASK)
    assert torch.allclose(white, torch.tensor([[-2 * scale, -scale, 0.0], [3 * scale, 0.0, 0.0]]), atol=1e-6)
    unshifted = whitened(values, MASK, shift=False)
    assert torch.allclose(unshifted, (white + 3) * MASK, atol=1e-6)


def test_whitening_over_two_workers_is_whitening_of_all_their_tokens() -> None:
    values, mask = torch.tensor([[1.0, 2.0, 3.0], [6.0, 99.0, 99.0]]), MASK.float()
    whole = whitened(values, mask)
    # What the other worker adds: its count and sum (1, 6), then its sum of squares (3 * 3).
    others = iter([torch.tensor([1.0, 6.0]), torch.tensor(9.0)])
    assert torch.allclose(whitened(values[:1], mask[:1], add_up=lambda own: own + next(others)), whole[:1])


@pytest.mark.parametrize("shift", [True, False])
def test_equal_values_are_not_divided_by_zero(shift: bool) -> None:
    assert whitened(torch.ones(2, 3), MASK, shift=shift).isfinite().all()
