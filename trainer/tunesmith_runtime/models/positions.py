"""How many tokens a model can read that has learnt their positions."""

import re

from torch import nn
from transformers import PreTrainedModel

_NAMES = re.compile(r"(^|\.)(position_embeddings|embed_positions|wpe)$")


def learnt_positions(model: PreTrainedModel) -> int | None:
    """Return how many tokens have a place among the learnt positions; None when positions are computed."""
    found = [
        # RoBERTa counts from behind its padding token on.
        min(module.num_embeddings, model.config.max_position_embeddings)
        - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and _NAMES.search(name)
    ]
    return min(found, default=None)
