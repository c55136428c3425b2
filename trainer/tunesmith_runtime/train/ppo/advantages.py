"""How much better a token was than expected: rewards, advantages and their scales. Tensors are (answers, tokens)."""

from collections.abc import Callable

import torch

# Adds a tensor up over all workers.
AddUp = Callable[[torch.Tensor], torch.Tensor]


def alone(values: torch.Tensor) -> torch.Tensor:
    """Return the values of a single worker, which are the sum."""
    return values


def token_rewards(scores: torch.Tensor, kl: torch.Tensor, mask: torch.Tensor, kl_coef: float) -> torch.Tensor:
    """Return each token's reward: minus `kl_coef` times its `kl`, and at the last token of an answer its score as well.

    `scores` is (answers,). After Ziegler et al. 2019, equation 2.
    """
    rewards = -kl_coef * kl * mask
    last = mask.long().sum(1) - 1
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards


def generalised_advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> torch.Tensor:
    """Return generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438), 0 behind an answer's end.

    The value behind the last token is 0: the answer ends there, or is scored there as it stands.
    """
    values, rewards = values * mask, rewards * mask
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    for token in reversed(range(rewards.shape[1])):
        next_value = values[:, token + 1] if token + 1 < rewards.shape[1] else torch.zeros_like(following)
        delta = rewards[:, token] + gamma * next_value - values[:, token]
        following = delta + gamma * lam * following
        advantages[:, token] = following
    return advantages * mask


def whitened(values: torch.Tensor, mask: torch.Tensor, *, shift: bool = True, add_up: AddUp = alone) -> torch.Tensor:
    """Return the values divided by the standard deviation of the valid ones, over all workers; 0 where not valid.

    Their mean becomes 0, or without `shift` is added again.
    """
    count, summed = add_up(torch.stack([mask.sum(), (values * mask).sum()]))
    mean = summed / count
    variance = add_up(((values - mean).square() * mask).sum()) / (count - 1).clamp(min=1)
    white = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (white if shift else white + mean) * mask
