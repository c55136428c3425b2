"""Settings that do not go together are refused before anything starts, all of them in one list."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import FINE_TUNE_JOB_SPEC, manifest
from tunesmith_api.combinations import FORMATS, TASK_FORMATS, TASK_METHODS
from tunesmith_api.errors import explain
from tunesmith_api.resources import parse


def source(name: str = "a", **changes: Any) -> dict[str, Any]:
    return {"name": name, "uri": "pvc://data/a.jsonl", "format": "messages", **changes}


def refused(**spec: Any) -> list[str]:
    if "train" in spec:
        spec["data"] = {"train": spec.pop("train"), **spec.get("data", {})}
    with pytest.raises(ValidationError) as error:
        parse(manifest("FineTuneJob", "bot", {**FINE_TUNE_JOB_SPEC, **spec}))
    return explain(error.value)


def accepted(**spec: Any) -> None:
    if "train" in spec:
        spec["data"] = {"train": spec.pop("train"), **spec.get("data", {})}
    parse(manifest("FineTuneJob", "bot", {**FINE_TUNE_JOB_SPEC, **spec}))


def adapter(**settings: Any) -> dict[str, Any]:
    return {"adapter": settings}


def by(method: str) -> dict[str, Any]:
    needed: dict[str, dict[str, Any]] = {
        "grpo": {"rewards": [{"function": "exactMatch"}]},
        "ppo": {"rewards": [{"model": "pvc://models/reward"}]},
        "distill": {"distill": {"teacher": "pvc://models/teacher"}},
    }
    return {"type": method, **needed.get(method, {})}


@pytest.mark.parametrize(
    ("method", "fmt"), [(method, fmt) for method, formats in FORMATS.items() for fmt in sorted(formats)]
)
def test_every_method_takes_its_formats(method: str, fmt: str) -> None:
    accepted(train=[source(format=fmt)], method=by(method))


@pytest.mark.parametrize(
    ("task", "method", "fmt"),
    [
        (task, method, fmt)
        for task, methods in TASK_METHODS.items()
        for method in sorted(methods)
        for fmt in sorted(TASK_FORMATS[task] & FORMATS[method])
    ],
)
def test_every_family_takes_its_methods(task: str, method: str, fmt: str) -> None:
    accepted(model={"uri": "pvc://m/base", "task": task}, train=[source(format=fmt)], method=by(method))


def test_a_format_that_the_method_cannot_learn_from() -> None:
    assert refused(train=[source()], method={"type": "dpo"}) == [
        "spec.data.train[0].format: method dpo cannot learn from messages; it takes preference"
    ]
    assert refused(train=[source(format="kto")]) == [
        "spec.data.train[0].format: method sft cannot learn from kto; it takes alpaca, dolly, messages, "
        "promptCompletion, sharegpt, squad, text, textClassification or tokenClassification"
    ]
    assert refused(
        train=[source(format="preference")],
        data={"validation": {"dataset": {"uri": "pvc://data/v.jsonl", "format": "text"}}},
        method={"type": "dpo"},
    ) == ["spec.data.validation.dataset.format: method dpo cannot learn from text; it takes preference"]


def test_a_task_that_does_not_fit() -> None:
    masked = {"uri": "pvc://m/bert", "task": "masked-lm"}
    assert refused(model=masked, train=[source()], method={"type": "pt"}) == [
        "spec.data.train[0].format: a model of task masked-lm cannot learn from messages; it takes text"
    ]
    assert refused(model=masked, train=[source(format="preference")], method={"type": "dpo"}) == [
        "spec.data.train[0].format: a model of task masked-lm cannot learn from preference; it takes text",
        "spec.method.type: a model of task masked-lm cannot learn by dpo; use pt",
    ]


def test_formats_that_need_a_job_each() -> None:
    assert refused(train=[source(), source("b", format="textClassification")]) == [
        "spec.data.train: formats messages and textClassification cannot be learnt by one job; use one for each"
    ]
    accepted(train=[source(), source("b", format="alpaca"), source("c", format="text")])


def test_splits_and_patterns_of_the_hub() -> None:
    assert refused(train=[source(split="test")]) == [
        "spec.data.train[0].split: only datasets of hf:// have splits, and uri is pvc://data/a.jsonl; leave it out"
    ]
    assert refused(train=[source(uri="hf://org/set*")]) == [
        "spec.data.train[0].uri: hf://org/set* has a glob pattern, and hf:// names a whole dataset"
    ]
    accepted(train=[source(uri="hf://org/set@main", split="test"), source("b", uri="pvc://data/**/*.parquet")])


def test_weights() -> None:
    assert refused(train=[source(weight=3), source("b")]) == [
        "spec.data.train: b has no weight; give all datasets one, or none"
    ]
    assert refused(train=[source(weight=3), source("b", weight=1)], data={"mixing": {"temperature": 2}}) == [
        "spec.data.mixing.temperature: weights say the shares already; leave temperature or the weights out"
    ]
    accepted(train=[source(weight=3), source("b", weight=0.5)], data={"mixing": {"by": "tokens"}})
    accepted(train=[source(), source("b")], data={"mixing": {"temperature": 2}})


def test_length_buckets() -> None:
    assert refused(train=[source()], data={"maxLength": 64, "lengthBuckets": [32, 16, 64]}) == [
        "spec.data.lengthBuckets: [32, 16, 64] must ascend, each length once"
    ]
    assert refused(train=[source()], data={"maxLength": 128, "lengthBuckets": [32, 64], "packing": "bfd"}) == [
        "spec.data.lengthBuckets: the longest bucket is 64 and maxLength 128; make them equal",
        "spec.data.lengthBuckets: packing leaves no padding for buckets to save; use one of the two",
    ]
    accepted(train=[source()], data={"maxLength": 64, "lengthBuckets": [32, 64]})


def test_packing_and_cutting_are_for_texts() -> None:
    data = {"packing": "bfd", "overlong": "split"}
    assert refused(train=[source(format="preference")], data=data, method={"type": "dpo"}) == [
        "spec.data.packing: bfd cuts or joins texts, and method dpo compares whole answers",
        "spec.data.overlong: split cuts or joins texts, and method dpo compares whole answers",
    ]
    seq2seq = {"uri": "pvc://m/t5", "task": "seq2seq-lm"}
    assert refused(model=seq2seq, train=[source()], data={"packing": "bfd"}) == [
        "spec.data.packing: bfd is for task causal-lm, and model.task is seq2seq-lm"
    ]
    assert refused(train=[source(format="textClassification")], data={"overlong": "truncate"}) == [
        "spec.data.overlong: truncate is for texts, and a dataset is of format textClassification"
    ]
    accepted(train=[source()], data=data)


def test_settings_of_another_adapter() -> None:
    assert refused(method=adapter(type="ia3", useDora=True, r=8)) == [
        "spec.method.adapter.r: is for type lora, and type is ia3; leave it out",
        "spec.method.adapter.useDora: is for type lora, and type is ia3; leave it out",
    ]
    assert refused(method=adapter(type="full", targetModules=["q_proj"], numVirtualTokens=4)) == [
        "spec.method.adapter.numVirtualTokens: is for prefix-tuning or prompt-tuning, and type is full; leave it out",
        "spec.method.adapter.targetModules: is for lora or ia3, and type is full; leave it out",
    ]
    assert refused(method=adapter(type="full", continueFrom="pvc://models/a")) == [
        "spec.method.adapter.continueFrom: names an adapter, and type full trains none; name the model in model.uri"
    ]
    accepted(method=adapter(type="prompt-tuning", numVirtualTokens=4))
    accepted(method=adapter(type="lora", useDora=True, rankPattern={"q_proj": 4}, continueFrom="pvc://models/a"))


def test_four_bits_need_a_gpu() -> None:
    assert refused(method=adapter(loadIn4bit=True)) == [
        "spec.method.adapter.loadIn4bit: needs a CUDA GPU; set resources.gpu, or leave it out to train in full "
        "precision"
    ]
    assert refused(method=adapter(loadIn4bit=True, useDora=True), resources={"gpu": 1}, deepspeed={"zeroStage": 3}) == [
        "spec.method.adapter.useDora: DoRA needs the lengths of unquantised weights; leave out one of useDora and "
        "loadIn4bit",
        "spec.deepspeed.zeroStage: stage 3 cannot spread 4-bit weights; use 2, or leave out loadIn4bit",
    ]
    accepted(method=adapter(loadIn4bit=True), resources={"gpu": 1})


def test_virtual_tokens() -> None:
    assert refused(
        method=adapter(type="prompt-tuning"),
        deepspeed={"zeroStage": 3},
        training={"activationCheckpointing": True},
        output={"uri": "pvc://models/a", "merge": True},
    ) == [
        "spec.training.activationCheckpointing: the vectors of prompt-tuning get no gradient through it; leave it out",
        "spec.output.merge: an adapter of type prompt-tuning cannot be merged into the model; leave it out",
        "spec.deepspeed.zeroStage: stage 3 cannot spread the vectors of prompt-tuning; use 2",
    ]


def test_going_on_from_an_adapter_by_zero_3() -> None:
    assert refused(method=adapter(continueFrom="pvc://models/a"), deepspeed={"zeroStage": 3}) == [
        "spec.deepspeed.zeroStage: stage 3 cannot load an adapter to go on from; use 2"
    ]


def test_precision_and_smoothing() -> None:
    assert refused(training={"precision": "fp16"}) == [
        "spec.training.precision: fp16 needs a CUDA GPU; set resources.gpu, or use bf16 or fp32"
    ]
    assert refused(
        train=[source(format="preference")], method={"type": "dpo"}, training={"labelSmoothingFactor": 0.1}
    ) == ["spec.training.labelSmoothingFactor: method dpo has no targets to smooth; leave it out"]


def test_settings_of_another_method() -> None:
    assert refused(method={"type": "sft", "dpo": {"beta": 0.2}}) == [
        "spec.method: dpo holds settings of method dpo, and type is sft"
    ]


def test_what_a_method_cannot_do_without() -> None:
    assert refused(method={"type": "ppo"}) == ["spec.method: method ppo learns from rewards: set rewards"]
    assert refused(method={"type": "distill"}) == [
        "spec.method: method distill learns from a teacher: set distill.teacher"
    ]
    assert refused(method={"rewards": [{"function": "f1"}]}) == [
        "spec.method: rewards are for methods grpo and ppo, and type is sft"
    ]
    assert refused(method={"type": "ppo", "rewards": [{}]}) == [
        "spec.method.rewards[0]: a reward is either a model or a function; set one of the two"
    ]
    assert refused(method={"type": "ppo", "rewards": [{"function": "best"}]}) == [
        "spec.method.rewards[0]: there is no reward function best; use exactMatch, f1, containsReference, jsonValid, "
        "wordCount, or package.module:function"
    ]


def test_answers_that_make_no_whole_groups() -> None:
    (said,) = refused(method=by("grpo"), training={"perDeviceTrainBatchSize": 6})
    assert said.startswith("spec.training.perDeviceTrainBatchSize: an optimizer step has 6 sequences")
    accepted(method=by("grpo"), training={"perDeviceTrainBatchSize": 2}, workers=4)


def test_what_preferences_cannot_be_learnt_with() -> None:
    pairs = [source(format="preference")]
    assert refused(train=pairs, method={"type": "dpo", **adapter(dropout=0.1)}) == [
        "spec.method.adapter.dropout: method dpo compares two passes, which dropout would make differ; set it to 0"
    ]
    assert refused(train=pairs, method={"type": "orpo", **adapter(type="prompt-tuning")}) == [
        "spec.method.adapter.type: method orpo cannot train prompt-tuning; use lora, ia3 or full"
    ]
    assert refused(train=[source(format="kto")], method={"type": "kto"}, training={"perDeviceTrainBatchSize": 1}) == [
        "spec.training.perDeviceTrainBatchSize: method kto compares the records of a batch with each other; use 2 or "
        "more"
    ]


def test_all_of_it_in_one_list() -> None:
    assert (
        len(
            refused(
                train=[source(weight=1), source("b", format="kto")],
                data={"maxLength": 64, "lengthBuckets": [64, 32], "packing": "bfd"},
                method=adapter(type="ia3", r=4),
                training={"precision": "fp16"},
            )
        )
        == 8
    )
