"""Greedy decoding in batches: prompts of like length are read together, and rows that have ended leave their batch.

What `generate` of transformers does for a batch costs as much as its longest prompt and its longest answer in every
row. Here the keys and values of prompts that were read apart are put together with padding on their left, which a mask
hides, and rows are taken out once their answer has ended (as in Yu et al. 2022, Orca).
"""

import inspect
from collections.abc import Collection, Sequence
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from tunesmith_runtime.evaluate.batching import Batching

# Rows leave when they are this share of their batch: to take them out copies the others.
_LEAVING = 0.25
_NEEDED = frozenset({"position_ids", "attention_mask", "past_key_values", "logits_to_keep"})


def can_decode(model: PreTrainedModel) -> bool:
    """Return whether the model keeps keys and values in the plain way that is needed here.

    Those with sliding windows, states or virtual tokens are left to transformers.
    """
    if isinstance(model, PeftModel):
        if model.active_peft_config.is_prompt_learning:
            return False
        model = model.get_base_model()
    if not inspect.signature(model.forward).parameters.keys() >= _NEEDED:
        return False
    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


class _Roomy(DynamicLayer):
    """Keys and values with room for those to come, so that a step writes its own and copies no others."""

    def __init__(self, parts: Sequence[DynamicLayer], gaps: Sequence[int], room: int) -> None:
        """Put layers together, each with its gap of padding on the left."""
        super().__init__()
        self.dtype, self.device, self.is_initialized = parts[0].dtype, parts[0].device, True
        self._length = gaps[0] + parts[0].keys.shape[-2]
        self._keys = torch.cat([pad(part.keys, (0, 0, gap, room)) for part, gap in zip(parts, gaps, strict=True)])
        self._values = torch.cat([pad(part.values, (0, 0, gap, room)) for part, gap in zip(parts, gaps, strict=True)])
        self._show()

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Add the keys and values of a step; return all."""
        end = self._length + key_states.shape[-2]
        self._keys[:, :, self._length : end] = key_states
        self._values[:, :, self._length : end] = value_states
        self._length = end
        self._show()
        return self.keys, self.values

    def keep(self, rows: torch.Tensor, unused: int) -> None:
        """Keep some rows, without what is unused on their left."""
        self._keys, self._values = self._keys[rows, :, unused:], self._values[rows, :, unused:]
        self._length -= unused
        self._show()

    def _show(self) -> None:
        self.keys, self.values = self._keys[:, :, : self._length], self._values[:, :, : self._length]


class _Rows:
    """The rows of a batch that have not ended."""

    def __init__(self, model: PreTrainedModel, config: Any, room: int) -> None:
        self._model = model
        self._config = config
        self._room = room
        self.indices: list[int] = []
        self.tokens = torch.empty(0, dtype=torch.long)
        self._parts: list[tuple[DynamicCache, torch.Tensor]] = []

    def read(self, prompts: Sequence[Sequence[int]], batch: Sequence[int]) -> None:
        """Read some of the prompts; what follows each comes to `tokens`."""
        width = max(len(prompts[index]) for index in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros(len(batch), width, dtype=torch.long)
        for row, index in enumerate(batch):
            ids[row, width - len(prompts[index]) :] = torch.tensor(prompts[index])
            mask[row, width - len(prompts[index]) :] = 1
        cache = DynamicCache(config=self._config)
        mask = mask.to(self._model.device)
        found = self._forward(ids.to(self._model.device), mask, (mask.cumsum(dim=1) - 1).clamp(min=0), cache)
        self.indices += batch
        self.tokens = torch.cat([self.tokens.to(found.device), found])
        self._parts.append((cache, mask))

    def join(self) -> None:
        """Put together what was read apart."""
        width = max(mask.shape[1] for _, mask in self._parts)
        gaps = [width - mask.shape[1] for _, mask in self._parts]
        self._mask = torch.cat([pad(mask, (gap, 0)) for (_, mask), gap in zip(self._parts, gaps, strict=True)])
        self._positions = self._mask.sum(dim=1)
        self._cache = DynamicCache(config=self._config)
        for number, layer in enumerate(self._cache.layers):
            parts = [cache.layers[number] for cache, _ in self._parts]
            # A layer that shares another's keys and values has none.
            self._cache.layers[number] = _Roomy(parts, gaps, self._room) if parts[0].is_initialized else layer
        self._parts = []

    def step(self) -> None:
        """Read the rows' tokens, and find those that follow."""
        self._mask = pad(self._mask, (0, 1), value=1)
        self.tokens = self._forward(self.tokens[:, None], self._mask, self._positions[:, None], self._cache)
        self._positions = self._positions + 1

    def keep(self, rows: list[int]) -> None:
        """Let all other rows leave, and the padding that only they needed."""
        kept = torch.tensor(rows, device=self._mask.device)
        self.indices = [self.indices[row] for row in rows]
        self.tokens, self._positions, mask = self.tokens[kept], self._positions[kept], self._mask[kept]
        unused = int((mask.sum(dim=0) > 0).int().argmax())
        self._mask = mask[:, unused:]
        for layer in self._cache.layers:
            if isinstance(layer, _Roomy):
                layer.keep(kept, unused)

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache
    ) -> torch.Tensor:
        output = self._model(
            input_ids=ids,
            # Without padding there is nothing to hide, and attention takes its fast way.
            attention_mask=None if bool(mask.all()) else mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        found: torch.Tensor = output.logits[:, -1].argmax(dim=-1)
        return found


def decode(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], most: int, ends: Collection[int], batching: Batching
) -> list[list[int]]:
    """Return the likeliest next tokens of each prompt, at most `most`, up to and with the first of `ends`.

    All prompts (token ids, at least one) are answered at the same time; `batching` says how many are read at once.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    rows = _Rows(model, base.config, most)
    for batch in batching.split([len(prompt) for prompt in prompts]):
        rows.read(prompts, batch)
    rows.join()
    written: list[list[int]] = [[] for _ in prompts]
    ended: set[int] = set()
    for step in range(most):
        for index, token in zip(rows.indices, rows.tokens.tolist(), strict=True):
            if index not in ended:
                written[index].append(token)
                if token in ends:
                    ended.add(index)
        left = [row for row, index in enumerate(rows.indices) if index not in ended]
        if not left or step == most - 1:
            break
        if len(rows.indices) - len(left) >= _LEAVING * len(rows.indices):
            rows.keep(left)
        rows.step()
    return written
