"""DeepSpeed ZeRO: optimizer states, gradients and weights spread over the workers.

DeepSpeed is imported only by runs that ask for it: it takes seconds.
"""

import importlib
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from tunesmith_api.training import DeepSpeed
from tunesmith_runtime.errors import ConfigError, RunError


def prepare() -> None:
    """Set up DeepSpeed in the process group that is there, before the model is loaded.

    It is kept from compiling anything, because the images have no compiler; what it would build makes collectives
    within one machine faster on CPUs.
    """
    deepspeed = importlib.import_module("deepspeed")
    importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None  # type: ignore[attr-defined]
    warnings.filterwarnings("ignore", message="`torch.distributed.*` is deprecated", category=FutureWarning)
    deepspeed.init_distributed(dist_backend=torch.distributed.get_backend(), verbose=False)


def settings(deepspeed: DeepSpeed) -> dict[str, Any]:
    """Return DeepSpeed's configuration; what is "auto" follows the Trainer's arguments."""
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "zero_optimization": {
            "stage": deepspeed.zero_stage,
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        # torch's AdamW, the same as without DeepSpeed: DeepSpeed's own would be compiled.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }


def spreads_weights(deepspeed: DeepSpeed | None) -> bool:
    """Return whether no worker holds all of the weights."""
    return deepspeed is not None and deepspeed.zero_stage == 3


def check_wrapped(trainer: Trainer) -> None:
    """Raise RunError unless DeepSpeed really trains: some settings turn it into DistributedDataParallel silently."""
    kind = type(trainer.model_wrapped)
    if not kind.__module__.startswith("deepspeed."):
        raise RunError(f"DeepSpeed was asked for, but {kind.__module__}.{kind.__name__} trains")


def whole_weights(trainer: Trainer) -> dict[str, torch.Tensor] | None:
    """Gather the weights that ZeRO-3 has spread; every worker must call it, rank 0 gets them and others None.

    Models that are loaded afterwards are whole ones.
    """
    weights: dict[str, torch.Tensor] | None = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    unset_hf_deepspeed_config()
    return weights


def check_resumable(checkpoint: Path, deepspeed: DeepSpeed | None, world_size: int) -> None:
    """Raise ConfigError when a checkpoint was written by another kind or number of workers than would read it."""
    shards = len(list(checkpoint.glob("global_step*/*_optim_states.pt")))
    by_zero = any(checkpoint.glob("global_step*"))
    if by_zero and deepspeed is None:
        raise ConfigError(f"{checkpoint} was written by DeepSpeed: set spec.deepspeed to go on from it")
    if not by_zero and deepspeed is not None:
        raise ConfigError(f"{checkpoint} was not written by DeepSpeed: leave out spec.deepspeed to go on from it")
    if deepspeed is not None and deepspeed.zero_stage > 0 and shards != world_size:
        raise ConfigError(
            f"{checkpoint} is spread over {shards} workers by DeepSpeed ZeRO and cannot be continued on {world_size}: "
            "set spec.workers and spec.resources.gpu back, or delete the job and create it again to start afresh"
        )
