"""One token is chosen from what the model says of all of them."""

import random
from collections import Counter
from collections.abc import Sequence

import torch

from tunesmith_runtime.serve.engine.forms import Form
from tunesmith_runtime.serve.engine.questions import Sampling, Score


class Sampler:
    """Chooses the tokens of one answer. What it draws depends on the seed and the answer's number, on no other row."""

    def __init__(self, sampling: Sampling, number: int, form: Form | None = None) -> None:
        self._sampling = sampling
        self._form = form
        self._penalised = bool(sampling.presence_penalty or sampling.frequency_penalty)
        self._counts: Counter[int] = Counter()
        seed = None if sampling.seed is None else f"{sampling.seed}/{number}"
        self._random = random.Random(seed)  # noqa: S311 - no secrets are made of it

    @property
    def plain(self) -> bool:
        """Whether it takes the likeliest token, whatever has been written."""
        return not (self._sampling.temperature or self._penalised or self._sampling.bias or self._form)

    def took(self, token: int) -> None:
        """Remember a token that was chosen."""
        if self._form is not None:
            self._form.took(token)
        if self._penalised:
            self._counts[token] += 1

    def choose(self, logits: torch.Tensor) -> int:
        """Return a token by its logits (vocabulary)."""
        sampling, logits = self._sampling, logits.float()
        if self._counts or sampling.bias:
            logits = self._shifted(logits)
        if self._form is not None:
            logits = self._form.allowed(logits)
        if not sampling.temperature:
            return int(logits.argmax())
        if sampling.top_k:
            least = logits.topk(min(sampling.top_k, len(logits))).values[-1]
            logits = logits.masked_fill(logits < least, -torch.inf)
        shares = (logits.double() / sampling.temperature).softmax(dim=-1)
        if sampling.min_p:
            shares = shares.masked_fill(shares < sampling.min_p * shares.max(), 0)
        if sampling.top_p < 1:
            ordered = shares.sort(descending=True).values
            # The fewest tokens that have top_p together; the likeliest is always one of them.
            needed = int((ordered.cumsum(dim=-1) < sampling.top_p * ordered.sum()).sum())
            shares = shares.masked_fill(shares < ordered[min(needed, len(ordered) - 1)], 0)
        # In the vocabulary's order, in which nothing changes places when the last digits of a logit differ.
        sums = shares.cumsum(dim=-1)
        found = int(torch.searchsorted(sums, self._random.random() * sums[-1], right=True))
        return found if found < len(sums) else int(shares.argmax())

    def _shifted(self, logits: torch.Tensor) -> torch.Tensor:
        logits, sampling = logits.clone(), self._sampling
        for token, count in self._counts.items():
            logits[token] -= sampling.presence_penalty + count * sampling.frequency_penalty
        for token, bias in sampling.bias:
            logits[token] += bias
        return logits


def choose(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """Return a token for each row of logits (rows, vocabulary)."""
    likeliest = logits.argmax(dim=-1).tolist()
    return [
        int(token) if sampler.plain else sampler.choose(row)
        for token, sampler, row in zip(likeliest, samplers, logits, strict=True)
    ]


def score(logits: torch.Tensor, tokens: Sequence[int], top: int) -> list[Score]:
    """Return how likely each token was by its row of logits (tokens, vocabulary), with the `top` likeliest tokens."""
    found = logits.float().log_softmax(dim=-1)
    index = torch.tensor(tokens, device=found.device)
    own = found.gather(-1, index[:, None])[:, 0].tolist()
    if not top:
        return [Score(token, value) for token, value in zip(tokens, own, strict=True)]
    best = found.topk(min(top, found.shape[-1]), dim=-1)
    return [
        Score(token, value, tuple(zip(ids, values, strict=True)))
        for token, value, ids, values in zip(tokens, own, best.indices.tolist(), best.values.tolist(), strict=True)
    ]
