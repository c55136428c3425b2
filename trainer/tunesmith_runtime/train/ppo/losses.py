"""The clipped losses of PPO, as sums over tokens; tensors are (answers, tokens)."""

from typing import NamedTuple

import torch


class PolicyLoss(NamedTuple):
    """Sums over valid tokens: the loss, how many were clipped, and an estimate of the KL to the answering policy."""

    loss: torch.Tensor
    clipped: torch.Tensor
    kl: torch.Tensor


class ValueLoss(NamedTuple):
    """Sums over valid tokens: the loss, and how many were clipped."""

    loss: torch.Tensor
    clipped: torch.Tensor


def policy_loss(
    log_probs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, clip_range: float
) -> PolicyLoss:
    """Return the clipped surrogate (Schulman et al. 2017, equation 7); `old` are the log-probabilities when answering.

    The KL is estimated by r - 1 - log r of the probability ratio r, which is never negative.
    """
    difference = (log_probs - old) * mask
    ratio = difference.exp()
    plain = -advantages * ratio
    bounded = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    return PolicyLoss(
        loss=(torch.maximum(plain, bounded) * mask).sum(),
        clipped=((bounded > plain) * mask).sum().detach(),
        kl=((ratio - 1 - difference) * mask).sum().detach(),
    )


def value_loss(
    values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, clip_range: float
) -> ValueLoss:
    """Return half the squared error of the values, or of the values kept near the `old` ones, whichever is larger."""
    bounded = old + (values - old).clamp(-clip_range, clip_range)
    plain, clipped = (values - returns).square(), (bounded - returns).square()
    return ValueLoss(
        loss=0.5 * (torch.maximum(plain, clipped) * mask).sum(), clipped=((clipped > plain) * mask).sum().detach()
    )
