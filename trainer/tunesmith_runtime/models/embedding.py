"""What texts mean to a model, as vectors: means of its last states over their tokens (Reimers and Gurevych 2019)."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel


def embed(model: PreTrainedModel, rows: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
    """Return a vector for each row of tokens (at least one), as a tensor (rows, size) in fp32."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), padding, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    mask = mask.to(model.device)
    # Without the head that a model writes with; an adapter is in its layers.
    states = model.base_model(input_ids=ids.to(model.device), attention_mask=mask).last_hidden_state.float()
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
