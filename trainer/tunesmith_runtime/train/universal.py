"""DeepSpeed's universal checkpoints: each weight and its optimizer states whole, for any number of workers.

Lian et al., Universal Checkpointing (arXiv:2406.18820).
"""

import contextlib
import functools
import importlib
import io
import os
import shutil
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith_runtime.train import group
from tunesmith_runtime.train.checkpoints import Checkpoint, CheckpointStore

# What transformers' Trainer reads of a checkpoint besides DeepSpeed's part.
_OF_THE_TRAINER = ("trainer_state.json", "scheduler.pt", "rng_state*.pth")


def converted(checkpoint: Checkpoint, store: CheckpointStore) -> Checkpoint:
    """Return a checkpoint of DeepSpeed ZeRO as a universal one, in the store's staging folder.

    Every worker must call it; one per folder converts, and the others wait. Each weight takes 12 bytes of the folder,
    twice that meanwhile.
    """
    folder = store.staging / f"universal-{checkpoint.step}"
    alone_here = os.environ.get("LOCAL_RANK", "0") == "0" if store.own_staging else group.is_first()
    if alone_here:
        _convert(checkpoint.path, folder)
    group.wait_for_all()
    _keep_groups_apart()
    return replace(checkpoint, path=folder)


@dataclass
class ForgettingCallback(TrainerCallback):
    """Deletes the bulk of a converted checkpoint as soon as every worker has read it."""

    checkpoint: Checkpoint

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave only what the Trainer reads later."""
        group.wait_for_all()
        for folder in self.checkpoint.path.glob("global_step*"):
            shutil.rmtree(folder, ignore_errors=True)


def _convert(checkpoint: Path, folder: Path) -> None:
    conversion = importlib.import_module("deepspeed.checkpoint.ds_to_universal")
    (shards,) = checkpoint.glob("global_step*")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for pattern in _OF_THE_TRAINER:
        for file in checkpoint.glob(pattern):
            shutil.copy2(file, folder)
    wanted = SimpleNamespace(
        input_folder=str(shards),
        output_folder=str(folder / f"{shards.name}_universal"),
        num_extract_workers=1,  # in this process
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,  # Megatron's patterns of names, of which there are none
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # its bars of progress
        conversion.main(wanted)


@functools.cache
def _keep_groups_apart() -> None:
    """Have each group of parameters keep its own weight decay and its own count of steps.

    ZeRO-3 gives all groups the weight decay of the first one, so that biases and norms would get it, and one tensor of
    steps, which PyTorch's optimizers would count up once for each group.
    """
    optimizer: Any = importlib.import_module("deepspeed.runtime.zero.stage3").DeepSpeedZeroOptimizer_Stage3
    load = optimizer._load_universal_checkpoint

    @functools.wraps(load)
    def loaded(self: Any, *arguments: Any, **options: Any) -> None:
        decays = [parameters["weight_decay"] for parameters in self.optimizer.param_groups]
        load(self, *arguments, **options)
        for parameters, decay in zip(self.optimizer.param_groups, decays, strict=True):
            parameters["weight_decay"] = decay
        for state in self.optimizer.state.values():
            state["step"] = deepcopy(state["step"])

    optimizer._load_universal_checkpoint = loaded
