"""The clipped losses equal what is worked out by hand."""

from math import log

import torch

from tunesmith_runtime.train.ppo.losses import policy_loss, value_loss

MASK = torch.tensor([[1, 1, 1, 1, 0]])


def test_the_policy_gains_nothing_from_leaving_the_clip_range() -> None:
    ratios = torch.tensor([[1.5, 0.5, 1.5, 0.5, 7.0]])
    advantages = torch.tensor([[2.0, 2.0, -2.0, -2.0, 9.0]])
    loss = policy_loss(ratios.log(), torch.zeros_like(ratios), advantages, MASK, clip_range=0.2)
    # Better tokens: min(1.5, 1.2) * 2 and min(0.5, 0.8) * 2; worse ones: max(1.5, 1.2) * 2 and max(0.5, 0.8) * 2.
    assert torch.isclose(loss.loss, torch.tensor(-2.4 - 1.0 + 3.0 + 1.6))
    assert loss.clipped == 2
    # r - 1 - log r, twice for 1.5 and twice for 0.5.
    assert torch.isclose(loss.kl, torch.tensor(2 * (0.5 - log(1.5)) + 2 * (-0.5 - log(0.5))))


def test_a_clipped_token_gives_no_gradient() -> None:
    log_probs = torch.tensor([[log(1.5), log(0.9)]], requires_grad=True)
    loss = policy_loss(log_probs, torch.zeros(1, 2), torch.tensor([[1.0, 1.0]]), torch.ones(1, 2), clip_range=0.2)
    loss.loss.backward()
    assert log_probs.grad is not None
    assert torch.allclose(log_probs.grad, torch.tensor([[0.0, -0.9]]))


def test_values_are_pulled_to_the_returns_from_near_the_old_ones_only() -> None:
    values = torch.tensor([[1.0, 1.0, 0.1, 1.0, 50.0]])
    old = torch.tensor([[0.0, 0.9, 0.0, 0.0, 0.0]])
    returns = torch.tensor([[2.0, 2.0, 1.0, 0.5, 0.0]])
    loss = value_loss(values, old, returns, MASK, clip_range=0.2)
    # Kept within 0.2 of the old ones they are 0.2, 1.0, 0.1, 0.2; squared errors 1 or 3.24, 1, 0.81, 0.25 or 0.09.
    assert torch.isclose(loss.loss, torch.tensor(0.5 * (3.24 + 1.0 + 0.81 + 0.25)))
    assert loss.clipped == 1
