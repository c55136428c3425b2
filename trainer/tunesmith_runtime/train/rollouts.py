"""Training on answers that the model has just written: which prompts come when, and what a checkpoint must hold.

A Trainer here draws the prompts of a whole rollout at once, lets the model answer them, and then learns from slices of
those answers for some steps. The same prompts come once for each of those steps, and only the first time they count.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

Batch = dict[str, torch.Tensor]


class PromptSampler(Sampler[int]):
    """Numbers of rows: each `prompts` of an epoch's order, `copies` times each, `repeats` times one after the other.

    The order of an epoch follows from `seed` and the epoch alone, so that a resumed run sees the same. The last rollout
    of an epoch is filled up with the first rows of that order.
    """

    def __init__(
        self, rows: int, *, prompts: int, copies: int, repeats: int, seed: int, epoch: Callable[[], int]
    ) -> None:
        self._rows = rows
        self._prompts = prompts
        self._copies = copies
        self._repeats = repeats
        self._seed = seed
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self._seed, self._epoch()]).permutation(self._rows)
        filled = np.resize(order, self._rollouts * self._prompts)
        for rollout in range(self._rollouts):
            first = rollout * self._prompts
            chosen = filled[first : first + self._prompts].repeat(self._copies).tolist()
            for _ in range(self._repeats):
                yield from chosen

    def __len__(self) -> int:
        return self._rollouts * self._prompts * self._copies * self._repeats

    @property
    def _rollouts(self) -> int:
        return -(-self._rows // self._prompts)


class RolloutTrainer(Trainer):
    """To be mixed into a Trainer that keeps the micro-batches of a rollout in `_buffered_inputs`.

    `_step` counts micro-batches; `note_batch` is called with `input_ids` and `attention_mask` of each that is learnt
    from. A checkpoint within a rollout holds what is left of it, each worker's part in a file, so that a resumed run
    equals an uninterrupted one.
    """

    note_batch: Callable[[Batch], None] | None = None
    _buffered_inputs: list[Batch] | None
    _step: int

    @property
    def micro_batches(self) -> int:
        """Micro-batches that one rollout is learnt from, repeated ones counted."""
        raise NotImplementedError

    def prompt_sampler(self, *, prompts: int, copies: int) -> PromptSampler:
        """Return the order of the training rows."""
        return PromptSampler(
            len(self.train_dataset),
            prompts=prompts,
            copies=copies,
            repeats=self.micro_batches,
            seed=self.args.data_seed or self.args.seed,
            epoch=lambda: int(self.state.epoch or 0),
        )

    def _prepare_inputs(self, inputs: Any) -> Batch:
        batch: Batch = super()._prepare_inputs(inputs)
        if self.note_batch is not None and self.model.training:
            self.note_batch(_whole_sequences(batch))
        return batch

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self._buffered_inputs is not None and self._step % self.micro_batches:
            folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            save_file(_flat(self._buffered_inputs), self._file(folder))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        self._step = self.state.global_step * self.args.gradient_accumulation_steps
        file = self._file(Path(checkpoint))
        # A worker that was not there when the checkpoint was written answers anew.
        self._buffered_inputs = _unflat(load_file(file), self.args.device) if file.is_file() else None

    def _file(self, folder: Path) -> Path:
        return folder / f"rollout-{self.args.process_index}.safetensors"


def _whole_sequences(batch: Batch) -> Batch:
    if "input_ids" in batch:
        return {name: batch[name] for name in ("input_ids", "attention_mask")}
    return {
        "input_ids": torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
        "attention_mask": torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
    }


def _flat(batches: list[Batch]) -> Batch:
    return {
        f"{index}.{name}": value.contiguous().clone()
        for index, batch in enumerate(batches)
        for name, value in batch.items()
        if isinstance(value, torch.Tensor)
    }


def _unflat(tensors: Batch, device: torch.device) -> list[Batch]:
    count = 1 + max(int(name.partition(".")[0]) for name in tensors)
    batches: list[Batch] = [{} for _ in range(count)]
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        batches[int(index)][key] = value.to(device)
    return batches
