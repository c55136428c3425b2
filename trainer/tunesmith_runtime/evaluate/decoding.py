"""Greedy decoding in batches: prompts of like length are read together, and rows that have ended leave their batch.

What `generate` of transformers does for a batch costs as much as its longest prompt and its longest answer in every
row.
"""

from collections.abc import Collection, Sequence

import torch
from transformers import PreTrainedModel

from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.models.decoding import Read, Reading, Rows

# Rows leave when they are this share of their batch: to take them out copies the others.
_LEAVING = 0.25


def decode(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], most: int, ends: Collection[int], batching: Batching
) -> list[list[int]]:
    """Return the likeliest next tokens of each prompt, at most `most`, up to and with the first of `ends`.

    All prompts (token ids, at least one) are answered at the same time; `batching` says how many are read at once.
    """
    read: list[Read] = []
    found: list[torch.Tensor] = []
    indices: list[int] = []
    for batch in batching.split([len(prompt) for prompt in prompts]):
        reading = Reading(model, [prompts[index] for index in batch])
        found.append(reading.advance()[:, -1].argmax(dim=-1))
        read.append(reading.read())
        indices += batch
    rows = Rows(model, most)
    rows.join(read)
    tokens = torch.cat(found)
    written: list[list[int]] = [[] for _ in prompts]
    ended: set[int] = set()
    for step in range(most):
        for index, token in zip(indices, tokens.tolist(), strict=True):
            if index not in ended:
                written[index].append(token)
                if token in ends:
                    ended.add(index)
        left = [row for row, index in enumerate(indices) if index not in ended]
        if not left or step == most - 1:
            break
        if len(indices) - len(left) >= _LEAVING * len(indices):
            rows.keep(left)
            indices, tokens = [indices[row] for row in left], tokens[left]
        tokens = rows.step(tokens).argmax(dim=-1)
    return written
