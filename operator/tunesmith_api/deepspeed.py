"""DeepSpeed: how optimizer, gradients and weights are spread over the workers, and what else a user sets of it."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StringConstraints

from tunesmith_api.base import ApiModel

Device = Literal["none", "cpu", "nvme"]
_AS_IN_DEEPSPEED: dict[str, JsonValue] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_AbsolutePath = Annotated[
    str, StringConstraints(min_length=2, max_length=1024, pattern=r"^(/[A-Za-z0-9_@%+=:,~-][A-Za-z0-9._@%+=:,~-]*)+$")
]

# Top-level keys of DeepSpeed's configuration that a job may hold (a test compares them with the installed DeepSpeed).
KNOWN: frozenset[str] = frozenset(
    {
        "aio",
        "bf16",
        "checkpoint",
        "comet",
        "comms_logger",
        "communication_data_type",
        "csv_monitor",
        "data_types",
        "disable_allgather",
        "disable_python_gc",
        "dump_state",
        "flops_profiler",
        "fp16",
        "gradient_allreduce_op",
        "gradient_predivide_factor",
        "log_level",
        "memory_breakdown",
        "prescale_gradients",
        "steps_per_print",
        "tensorboard",
        "timers",
        "vocabulary_size",
        "wall_clock_breakdown",
        "wandb",
        "zero_force_ds_cpu_optimizer",
        "zero_optimization",
    }
)
_BATCH = "spec.training.perDeviceTrainBatchSize"
_OPTIMIZER = "spec.deepspeed.offload.optimizer"
_PARAMETERS = "spec.deepspeed.offload.parameters"
_NVME_PATH = "spec.deepspeed.offload.nvmePath"
# What fields of the spec say, by the path of the key, and which ones: one of the two would be passed over silently.
OURS: Mapping[str, str] = {
    "train_batch_size": f"{_BATCH}, spec.training.gradientAccumulationSteps and spec.workers",
    "train_micro_batch_size_per_gpu": _BATCH,
    "gradient_accumulation_steps": "spec.training.gradientAccumulationSteps",
    "gradient_clipping": "spec.training.maxGradNorm",
    "optimizer": "spec.training.learningRate and spec.training.weightDecay",
    "scheduler": "spec.training.lrSchedulerType and spec.training.warmupSteps",
    "bf16.enabled": "spec.training.precision",
    "fp16.enabled": "spec.training.precision",
    "torch_autocast": "spec.training.precision",
    "bfloat16": "spec.training.precision",
    "activation_checkpointing": "spec.training.activationCheckpointing",
    "compile": "spec.training.torchCompile",
    "checkpoint.load_universal": "spec.checkpoints",
    "checkpoint.use_node_local_storage": "spec.checkpoints.uri",
    "zero_optimization.stage": "spec.deepspeed.zeroStage",
    "zero_optimization.elastic_checkpoint": "spec.checkpoints",
    "zero_optimization.offload_optimizer.device": _OPTIMIZER,
    "zero_optimization.offload_optimizer.nvme_path": _NVME_PATH,
    "zero_optimization.offload_param.device": _PARAMETERS,
    "zero_optimization.offload_param.nvme_path": _NVME_PATH,
    "zero_optimization.cpu_offload": _OPTIMIZER,
    "zero_optimization.cpu_offload_param": _PARAMETERS,
    "zero_optimization.cpu_offload_use_pin_memory": "spec.deepspeed.offload",
}
# What DeepSpeed knows and a job cannot use, and why not.
UNUSABLE: Mapping[str, str] = {
    "autotuning": "a run does not start others; try settings in jobs of their own",
    "data_efficiency": "spec.data says which records are seen when",
    "dataloader_drop_last": "the records come from spec.data, and not from DeepSpeed",
    "datastates_ckpt": "spec.checkpoints says what is kept, and its files are DeepSpeed's usual ones",
    "expert_parallel": "experts are not spread over workers",
    "hybrid_engine": "answers of methods grpo and ppo are written by the model itself",
    "managed_gradient_accumulation": "transformers' Trainer accumulates gradients",
    "pipeline": "models of transformers are no pipelines",
    "seq_parallel_communication_data_type": "sequences are not spread over workers, as such a run could not resume",
    "tensor_parallel": "weights are spread by zeroStage 3 only",
    "use_data_before_expert_parallelism": "experts are not spread over workers",
    "weight_quantization": "spec.method.adapter.loadIn4bit says how weights are held",
    "zero_allow_untested_optimizer": "it is always on",
    "zero_optimization.gather_16bit_weights_on_model_save": "the model is published with whole weights",
    "zero_optimization.stage3_gather_16bit_weights_on_model_save": "the model is published with whole weights",
    "zero_optimization.stage3_gather_fp16_weights_on_model_save": "the model is published with whole weights",
}
# Where a mapping of the user's is merged into one of ours, which nothing else can take the place of.
_MAPPINGS = frozenset(key.rpartition(".")[0] for key in OURS if "." in key) | {"checkpoint"}


class Offload(ApiModel):
    """What is kept outside of the GPUs' memory between its uses."""

    optimizer: Device = Field(
        default="none",
        description="Where optimizer states are kept and weights are updated. cpu: in the pod's memory, from "
        "zeroStage 1 on. nvme: in nvmePath, with zeroStage 3.",
    )
    parameters: Device = Field(
        default="none", description="Where weights are kept; other than none with zeroStage 3 only."
    )
    nvme_path: _AbsolutePath | None = Field(
        default=None,
        description="Folder for nvme, below /tmp or a mountPath of podTemplate.volumeMounts; it should be on a fast "
        "local disk, and every pod uses its own.",
    )


class DeepSpeed(ApiModel):
    """How optimizer, gradients and weights are spread over the workers."""

    zero_stage: int = Field(
        default=2,
        ge=0,
        le=3,
        description="0: nothing is spread. 1: optimizer states are. 2: gradients as well. 3: weights as well.",
    )
    offload: Offload = Field(default=Offload(), description="What is kept outside of the GPUs' memory.")
    config: dict[str, Any] = Field(
        default={},
        max_length=64,
        description="More of DeepSpeed's configuration, as in its own files, merged over what the spec generates. What "
        "a field of the spec says is refused here.",
        json_schema_extra=_AS_IN_DEEPSPEED,
    )


def misfits(deepspeed: DeepSpeed, mounts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield what does not go together within a job's DeepSpeed settings: a path below spec, and what is wrong.

    `mounts` are the folders of the pods that podTemplate mounts volumes at.
    """
    offload, stage = deepspeed.offload, deepspeed.zero_stage
    if offload.optimizer == "cpu" and stage == 0:
        yield "deepspeed.offload.optimizer", "cpu needs zeroStage 1 or more, and zeroStage is 0"
    if offload.optimizer == "nvme" and stage != 3:
        yield "deepspeed.offload.optimizer", f"nvme needs zeroStage 3, and zeroStage is {stage}; use cpu"
    if offload.parameters != "none" and stage != 3:
        yield (
            "deepspeed.offload.parameters",
            f"{offload.parameters} needs zeroStage 3, and zeroStage is {stage}; leave it out",
        )
    on_disk = "nvme" in (offload.optimizer, offload.parameters)
    if on_disk and offload.nvme_path is None:
        yield "deepspeed.offload.nvmePath", "missing; nvme needs a folder on a local disk"
    elif offload.nvme_path is not None and not on_disk:
        yield "deepspeed.offload.nvmePath", "is for nvme, and neither optimizer nor parameters is; leave it out"
    elif offload.nvme_path is not None and not _below(offload.nvme_path, ("/tmp", *mounts)):  # noqa: S108
        yield (
            "deepspeed.offload.nvmePath",
            f"{offload.nvme_path} is on no volume of the pods: mount one there with podTemplate.volumes and "
            "podTemplate.volumeMounts",
        )
    for path, value in _entries(deepspeed.config):
        if reason := _refused(path, value):
            yield f"deepspeed.config.{'.'.join(path)}", reason


def _refused(path: tuple[str, ...], value: object) -> str | None:
    """Return why an entry, such as of ("zero_optimization", "stage"), cannot be there; None when it can."""
    key = ".".join(path)
    if key in OURS:
        return f"{OURS[key]} {'say' if ' and ' in OURS[key] else 'says'} this; leave it out"
    if key in UNUSABLE:
        return f"cannot be set: {UNUSABLE[key]}"
    if key in _MAPPINGS and not isinstance(value, Mapping):
        return "is not a mapping; leave it out, or set single keys of it"
    if len(path) > 1 or key in KNOWN:
        return None
    close = difflib.get_close_matches(key, [*KNOWN, *OURS, *UNUSABLE], n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(KNOWN))}"
    return f"DeepSpeed knows no {key}; {hint}"


def _entries(config: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the value of every key of a configuration and of the mappings in it."""
    for name, value in config.items():
        yield (*above, name), value
        if isinstance(value, Mapping) and ".".join((*above, name)) not in (*OURS, *UNUSABLE):
            yield from _entries(value, (*above, name))


def _below(path: str, folders: tuple[str, ...]) -> bool:
    return any(folder and f"{path}/".startswith(f"{folder.rstrip('/')}/") for folder in folders)
