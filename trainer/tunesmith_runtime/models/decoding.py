"""Rows that a causal model writes at the same time: they come to a batch and leave it while the others go on.

Prompts are read apart from what is already being written. Their keys and values are then put together with padding on
their left, which a mask hides, and rows are taken out once their answer has ended (as in Yu et al. 2022, Orca).
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

# Steps that a batch has room for before its keys and values are copied to a larger place.
ROOM = 64
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
        if end > self._keys.shape[-2]:
            self._keys, self._values = pad(self._keys, (0, 0, 0, ROOM)), pad(self._values, (0, 0, 0, ROOM))
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


@dataclass
class Read:
    """Rows that have been read and not joined yet: their keys and values, and which places are no padding."""

    cache: DynamicCache
    mask: torch.Tensor

    def repeat(self, times: Sequence[int]) -> "Read":
        """Return the rows, each so many times."""
        index = torch.arange(len(times)).repeat_interleave(torch.tensor(times)).to(self.mask.device)
        self.cache.batch_select_indices(index)
        return Read(self.cache, self.mask[index])


class Reading:
    """Prompts (token ids, at least one each) that are read together; a single one may be read in pieces."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        width = max(len(prompt) for prompt in prompts)
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        self._ids, self._mask = ids.to(model.device), mask.to(model.device)
        self._cache = DynamicCache(config=_config(model))
        self._done = 0

    @property
    def left(self) -> int:
        """How many tokens of each prompt are still to be read."""
        return self._ids.shape[1] - self._done

    def advance(self, most: int | None = None, *, every: bool = False) -> torch.Tensor:
        """Read on, at most so many tokens of a single prompt; return the logits after the last one, or after `every`.

        They are of shape (prompts, places, vocabulary).
        """
        end = self._ids.shape[1] if most is None else min(self._ids.shape[1], self._done + most)
        mask = self._mask[:, :end]
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, self._done :]
        ids = self._ids[:, self._done : end]
        self._done = end
        return _forward(self._model, ids, mask, positions, self._cache, 0 if every else 1)

    def read(self) -> Read:
        """Return what has been read."""
        return Read(self._cache, self._mask)


class Rows:
    """The rows of a batch that are being written."""

    def __init__(self, model: PreTrainedModel, room: int = ROOM) -> None:
        """Make an empty batch; `room` is for how many steps there is room at first."""
        self._model = model
        self._room = room
        self._mask = torch.empty(0, 0, dtype=torch.long, device=model.device)
        self._cache: DynamicCache | None = None

    def __len__(self) -> int:
        return int(self._mask.shape[0])

    @property
    def width(self) -> int:
        """How many places each row takes, padding included."""
        return int(self._mask.shape[1])

    def join(self, read: Sequence[Read]) -> None:
        """Put rows that were read apart behind those that are here."""
        parts = list(read) if self._cache is None else [Read(self._cache, self._mask), *read]
        width = max(part.mask.shape[1] for part in parts)
        gaps = [width - part.mask.shape[1] for part in parts]
        self._mask = torch.cat([pad(part.mask, (gap, 0)) for part, gap in zip(parts, gaps, strict=True)])
        self._positions = self._mask.sum(dim=1)
        joined = DynamicCache(config=_config(self._model))
        for number, layer in enumerate(joined.layers):
            layers = [part.cache.layers[number] for part in parts]
            # A layer that shares another's keys and values has none.
            joined.layers[number] = _Roomy(layers, gaps, self._room) if layers[0].is_initialized else layer
        self._cache = joined

    def read(self) -> Read:
        """Return all rows, to join others."""
        assert self._cache is not None  # noqa: S101 - there are rows
        return Read(self._cache, self._mask)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one more token of each row; return the logits after it (rows, vocabulary)."""
        assert self._cache is not None  # noqa: S101 - there are rows
        self._mask = pad(self._mask, (0, 1), value=1)
        tokens = tokens.to(self._mask.device)[:, None]
        logits = _forward(self._model, tokens, self._mask, self._positions[:, None], self._cache, 1)
        self._positions = self._positions + 1
        return logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Let all other rows leave, and the padding that only they needed."""
        if not rows:
            self._cache, self._mask = None, self._mask[:0, :0]
            return
        assert self._cache is not None  # noqa: S101 - there are rows
        kept = torch.tensor(rows, device=self._mask.device)
        self._positions, mask = self._positions[kept], self._mask[kept]
        unused = int((mask.sum(dim=0) > 0).int().argmax())
        self._mask = mask[:, unused:]
        for layer in self._cache.layers:
            if isinstance(layer, _Roomy):
                layer.keep(kept, unused)


def _config(model: PreTrainedModel) -> Any:
    return (model.get_base_model() if isinstance(model, PeftModel) else model).config


def _forward(
    model: PreTrainedModel,
    ids: torch.Tensor,
    mask: torch.Tensor,
    positions: torch.Tensor,
    cache: DynamicCache,
    keep: int,
) -> torch.Tensor:
    output = model(
        input_ids=ids,
        # Without padding there is nothing to hide, and attention takes its fast way.
        attention_mask=None if bool(mask.all()) else mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=keep,
    )
    logits: torch.Tensor = output.logits
    return logits
