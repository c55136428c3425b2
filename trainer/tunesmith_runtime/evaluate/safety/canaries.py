"""Exposure of canaries: secrets that were planted in the training data (Carlini et al. 2019, The Secret Sharer)."""

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from tunesmith_runtime.data.formats.fields import BadRecordError, text_of
from tunesmith_runtime.evaluate.safety.rows import filled

_ALPHABETS = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


@dataclass(frozen=True)
class Canary:
    """A secret and what stands before it."""

    prefix: str
    secret: str

    def variants(self) -> int:
        """Return how many secrets of this shape there are."""
        return math.prod(len(alphabet) for each in self.secret if (alphabet := _alphabet(each)))

    def candidates(self, count: int, seed: int) -> list[str]:
        """Return so many other secrets of this shape, each once: digits for digits, letters for letters of its case.

        They are drawn at random, always the same ones; there must be more variants than that.
        """
        drawn = sha256(f"{seed} {self.prefix}\0{self.secret}".encode("utf-8", "surrogatepass")).digest()
        rng = np.random.default_rng(list(drawn))
        found: dict[str, None] = {}
        while len(found) < count:
            made = "".join(
                alphabet[int(rng.integers(len(alphabet)))] if (alphabet := _alphabet(each)) else each
                for each in self.secret
            )
            if made != self.secret:
                found[made] = None
        return list(found)


def canary_of(fields: dict[str, Any], candidates: int) -> Canary:
    """Return the canary of a record. Raises BadRecordError, also for one with too few variants to rank it among."""
    canary = Canary(text_of(fields, "prefix"), filled(fields, "secret"))
    # Drawing most of few variants would take for ever.
    if canary.variants() < 2 * candidates:
        raise BadRecordError(
            f"secret has {canary.variants()} variants by its digits and letters, and candidates is {candidates}; take "
            "a longer secret or at most half as many candidates"
        )
    return canary


def exposure(canary: float, candidates: Sequence[float]) -> float:
    """Return log2 of the number of secrets less log2 of the canary's rank among them, in bits.

    Arguments are negative log-likelihoods; a candidate that is as likely as the canary ranks before it.
    """
    rank = 1 + sum(each <= canary for each in candidates)
    return math.log2(len(candidates) + 1) - math.log2(rank)


def _alphabet(character: str) -> str:
    return next((alphabet for alphabet in _ALPHABETS if character in alphabet), "")
