"""DeepSpeed ZeRO: optimizer states, gradients and weights spread over the workers.

DeepSpeed is imported only by runs that ask for it: it takes seconds.
"""

import importlib
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers import Trainer
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from tunesmith_api.deepspeed import DeepSpeed
from tunesmith_runtime.errors import ConfigError, NotWritableError, RunError

# What transformers' Trainer sets by the size of the model.
_AUTOMATIC = dict.fromkeys(
    ("reduce_bucket_size", "stage3_prefetch_bucket_size", "stage3_param_persistence_threshold"), "auto"
)


def prepare(wanted: DeepSpeed) -> None:
    """Set up DeepSpeed in the process group that is there, before the model is loaded.

    It is kept from compiling what the spec does not ask for, because the images have no compiler; what it would build
    makes collectives within one machine faster on CPUs. Raises ConfigError for a configuration that DeepSpeed refuses,
    and NotWritableError for a folder of nvme.
    """
    if wanted.offload.nvme_path is not None:
        _check_writable(Path(wanted.offload.nvme_path))
    deepspeed = importlib.import_module("deepspeed")
    importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None  # type: ignore[attr-defined]
    warnings.filterwarnings("ignore", message="`torch.distributed.*` is deprecated", category=FutureWarning)
    deepspeed.init_distributed(dist_backend=torch.distributed.get_backend(), verbose=False)
    check_config(wanted)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise NotWritableError(f"spec.deepspeed.offload.nvmePath: {folder} cannot be written: {error}") from error


def check_config(wanted: DeepSpeed) -> None:
    """Raise ConfigError for keys within sections, and for values, that DeepSpeed's own reader refuses."""
    alone = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": _zero_section(wanted)}
    settings = _merged(alone, wanted.config)
    settings["zero_optimization"] = {
        name: value for name, value in settings["zero_optimization"].items() if (name, value) not in _AUTOMATIC.items()
    }
    try:
        importlib.import_module("deepspeed.runtime.config").DeepSpeedConfig(settings)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigError(f"spec.deepspeed.config: {error.title} of DeepSpeed refuses it: {reasons}") from error
    except Exception as error:
        raise ConfigError(f"spec.deepspeed.config: DeepSpeed refuses it: {error}") from error


def settings(deepspeed: DeepSpeed, *, universal: bool = False) -> dict[str, Any]:
    """Return DeepSpeed's configuration, the user's merged over ours; what is "auto" follows the Trainer's arguments.

    `universal` says that the run goes on from a universal checkpoint.
    """
    ours = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "zero_optimization": {
            **_zero_section(deepspeed),
            **_AUTOMATIC,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        # torch's AdamW, the same as without DeepSpeed: DeepSpeed's own would be compiled.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
        "checkpoint": {"load_universal": universal},
    }
    return _merged(ours, deepspeed.config)


def _zero_section(deepspeed: DeepSpeed) -> dict[str, Any]:
    offload = deepspeed.offload
    section: dict[str, Any] = {"stage": deepspeed.zero_stage}
    for name, device in (("offload_optimizer", offload.optimizer), ("offload_param", offload.parameters)):
        if device != "none":
            section[name] = {"device": device}
        if device == "nvme":
            section[name]["nvme_path"] = offload.nvme_path
    return section


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return `ours` with all of `theirs`: mappings are merged, anything else of theirs takes the place of ours."""
    merged = dict(ours)
    for name, value in theirs.items():
        own = merged.get(name)
        merged[name] = _merged(own, value) if isinstance(own, Mapping) and isinstance(value, Mapping) else value
    return merged


def spreads_weights(deepspeed: DeepSpeed | None) -> bool:
    """Return whether no worker holds all of the weights."""
    return deepspeed is not None and deepspeed.zero_stage == 3


def check_wrapped(trainer: Trainer) -> None:
    """Raise RunError unless DeepSpeed really trains: some settings turn it into DistributedDataParallel silently."""
    kind = type(trainer.model_wrapped)
    if not kind.__module__.startswith("deepspeed."):
        raise RunError(f"DeepSpeed was asked for, but {kind.__module__}.{kind.__name__} trains")


def begin_with_no_step(trainer: Trainer) -> None:
    """Have AdamW not count the step that stage 0 makes the optimizer's states of 16-bit weights by.

    It is one without gradients, and would make the first real ones, which are corrected for how many there were, too
    small.
    """
    wrapped = trainer.model_wrapped
    if type(wrapped.optimizer).__name__ == "FP16_UnfusedOptimizer":
        for state in wrapped.optimizer.state.values():
            if "step" in state:
                state["step"] = torch.zeros_like(torch.as_tensor(state["step"]))


def whole_weights(trainer: Trainer) -> dict[str, torch.Tensor] | None:
    """Gather the weights that ZeRO-3 has spread; every worker must call it, rank 0 gets them and others None.

    Models that are loaded afterwards are whole ones.
    """
    weights: dict[str, torch.Tensor] | None = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    unset_hf_deepspeed_config()
    return weights


def check_resumable(checkpoint: Path, deepspeed: DeepSpeed | None, world_size: int) -> None:
    """Raise ConfigError when a checkpoint was written by another kind or number of workers than can read it."""
    by_zero = any(checkpoint.glob("global_step*"))
    if by_zero and deepspeed is None:
        raise ConfigError(f"{checkpoint} was written by DeepSpeed: set spec.deepspeed to go on from it")
    if not by_zero and deepspeed is not None:
        raise ConfigError(f"{checkpoint} was not written by DeepSpeed: leave out spec.deepspeed to go on from it")
    if deepspeed is not None and deepspeed.offload.optimizer == "nvme" and is_spread_otherwise(checkpoint, world_size):
        raise ConfigError(
            f"{checkpoint} has the optimizer states of {_shards(checkpoint)} workers as they lay in "
            f"spec.deepspeed.offload.nvmePath, and cannot be continued on {world_size}: set spec.workers and "
            "spec.resources.gpu back, or delete the job and create it again to start afresh"
        )


def is_spread_otherwise(checkpoint: Path, world_size: int) -> bool:
    """Return whether ZeRO has spread a checkpoint over another number of workers, so that it has to be converted."""
    return _shards(checkpoint) not in (0, world_size)


def _shards(checkpoint: Path) -> int:
    return len(list(checkpoint.glob("global_step*/*_optim_states.pt")))
