"""DeepSpeed settings that do not go together are refused before anything starts."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import FINE_TUNE_JOB_SPEC, manifest
from tunesmith_api.crd import custom_resource_definition
from tunesmith_api.errors import explain
from tunesmith_api.resources import parse

SCRATCH = {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}


def job(deepspeed: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return manifest("FineTuneJob", "bot", {**FINE_TUNE_JOB_SPEC, **spec, "deepspeed": deepspeed})


def refused(deepspeed: dict[str, Any], **spec: Any) -> list[str]:
    with pytest.raises(ValidationError) as error:
        parse(job(deepspeed, **spec))
    return explain(error.value)


def accepted(deepspeed: dict[str, Any], **spec: Any) -> None:
    parse(job(deepspeed, **spec))


def test_what_each_stage_can_offload() -> None:
    for stage in (1, 2, 3):
        accepted({"zeroStage": stage, "offload": {"optimizer": "cpu"}})
    accepted({"zeroStage": 3, "offload": {"parameters": "cpu"}})
    assert refused({"zeroStage": 0, "offload": {"optimizer": "cpu"}}) == [
        "spec.deepspeed.offload.optimizer: cpu needs zeroStage 1 or more, and zeroStage is 0"
    ]
    assert refused({"zeroStage": 2, "offload": {"optimizer": "nvme", "parameters": "cpu", "nvmePath": "/tmp/x"}}) == [
        "spec.deepspeed.offload.optimizer: nvme needs zeroStage 3, and zeroStage is 2; use cpu",
        "spec.deepspeed.offload.parameters: cpu needs zeroStage 3, and zeroStage is 2; leave it out",
    ]


def test_where_nvme_is() -> None:
    offload = {"optimizer": "nvme", "parameters": "nvme"}
    accepted({"zeroStage": 3, "offload": {**offload, "nvmePath": "/scratch/zero"}}, podTemplate=SCRATCH)
    accepted({"zeroStage": 3, "offload": {**offload, "nvmePath": "/tmp/zero"}})
    assert refused({"zeroStage": 3, "offload": offload}) == [
        "spec.deepspeed.offload.nvmePath: missing; nvme needs a folder on a local disk"
    ]
    assert refused({"zeroStage": 3, "offload": {"parameters": "cpu", "nvmePath": "/tmp/zero"}}) == [
        "spec.deepspeed.offload.nvmePath: is for nvme, and neither optimizer nor parameters is; leave it out"
    ]
    assert refused({"zeroStage": 3, "offload": {**offload, "nvmePath": "/scratchy/zero"}}, podTemplate=SCRATCH) == [
        "spec.deepspeed.offload.nvmePath: /scratchy/zero is on no volume of the pods: mount one there with "
        "podTemplate.volumes and podTemplate.volumeMounts"
    ]
    for path in ("scratch", "/scratch/../etc", "/"):
        assert "spec.deepspeed.offload.nvmePath: " in refused({"offload": {**offload, "nvmePath": path}})[0]


def test_more_of_deepspeeds_own_configuration() -> None:
    accepted(
        {
            "zeroStage": 3,
            "config": {
                "wall_clock_breakdown": True,
                "fp16": {"initial_scale_power": 12},
                "zero_optimization": {"overlap_comm": True, "sub_group_size": 1_000_000, "offload_param": {}},
            },
        }
    )


def test_what_a_field_of_ours_says_is_refused_also_when_it_is_equal() -> None:
    config = {
        "train_batch_size": 8,
        "gradient_clipping": 1.0,
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-4}},
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu", "pin_memory": True}},
    }
    assert refused({"zeroStage": 2, "config": config}) == [
        "spec.deepspeed.config.train_batch_size: spec.training.perDeviceTrainBatchSize, "
        "spec.training.gradientAccumulationSteps and spec.workers say this; leave it out",
        "spec.deepspeed.config.gradient_clipping: spec.training.maxGradNorm says this; leave it out",
        "spec.deepspeed.config.optimizer: spec.training.learningRate and spec.training.weightDecay say this; leave it "
        "out",
        "spec.deepspeed.config.bf16.enabled: spec.training.precision says this; leave it out",
        "spec.deepspeed.config.zero_optimization.stage: spec.deepspeed.zeroStage says this; leave it out",
        "spec.deepspeed.config.zero_optimization.offload_optimizer.device: spec.deepspeed.offload.optimizer says this; "
        "leave it out",
    ]


def test_what_cannot_be_set_at_all() -> None:
    said = refused(
        {
            "config": {
                "tensor_parallel": {"autotp_size": 2},
                "zero_optimization": {"stage3_gather_16bit_weights_on_model_save": False},
                "bf16": None,
            }
        }
    )
    assert said == [
        "spec.deepspeed.config.tensor_parallel: cannot be set: weights are spread by zeroStage 3 only",
        "spec.deepspeed.config.zero_optimization.stage3_gather_16bit_weights_on_model_save: cannot be set: the model "
        "is published with whole weights",
        "spec.deepspeed.config.bf16: is not a mapping; leave it out, or set single keys of it",
    ]


def test_a_name_that_deepspeed_does_not_know() -> None:
    assert refused({"config": {"zero_optimisation": {"stage": 2}}}) == [
        "spec.deepspeed.config.zero_optimisation: DeepSpeed knows no zero_optimisation; did you mean zero_optimization?"
    ]
    (said,) = refused({"config": {"quux": 1}})
    assert said.startswith("spec.deepspeed.config.quux: DeepSpeed knows no quux; known: aio, bf16, checkpoint, ")


def test_fp16_needs_a_stage() -> None:
    gpu = {"resources": {"gpu": 1}, "training": {"precision": "fp16"}}
    accepted({"zeroStage": 1}, **gpu)
    assert refused({"zeroStage": 0}, **gpu) == [
        "spec.deepspeed.zeroStage: stage 0 does not scale losses of fp16 as it should; use 1, 2 or 3"
    ]


def test_a_model_that_is_taken_apart_is_not_compiled() -> None:
    compiled = {"training": {"torchCompile": True}}
    accepted({"zeroStage": 2}, **compiled)
    assert refused({"zeroStage": 3}, **compiled) == [
        "spec.training.torchCompile: zeroStage 3 takes weights apart while compiled code computes with them; use "
        "zeroStage 2, or leave it out"
    ]


def test_the_crd_keeps_a_configuration_as_it_is_written() -> None:
    (version,) = custom_resource_definition("FineTuneJob")["spec"]["versions"]
    deepspeed = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["deepspeed"]["properties"]
    assert deepspeed["config"]["x-kubernetes-preserve-unknown-fields"] is True
    assert deepspeed["offload"]["properties"]["optimizer"]["enum"] == ["none", "cpu", "nvme"]
