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


def judged(fmt: str = "pairs") -> dict[str, Any]:
    """Return the judge that datasets of pairs need."""
    return {"judge": {"url": "http://judge.default.svc/v1", "model": "wise"}} if fmt == "pairs" else {}


@pytest.mark.parametrize(
    ("method", "fmt"), [(method, fmt) for method, formats in FORMATS.items() for fmt in sorted(formats)]
)
def test_every_method_takes_its_formats(method: str, fmt: str) -> None:
    accepted(train=[source(format=fmt)], data=judged(fmt), method=by(method))


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
    model = {"uri": "pvc://m/base", "task": task}
    accepted(model=model, train=[source(format=fmt)], data=judged(fmt), method=by(method))


def test_a_format_that_the_method_cannot_learn_from() -> None:
    assert refused(train=[source()], method={"type": "dpo"}) == [
        "spec.data.train[0].format: method dpo cannot learn from messages; it takes feedback, pairs or preference"
    ]
    assert refused(train=[source(format="kto")]) == [
        "spec.data.train[0].format: method sft cannot learn from kto; it takes alpaca, dolly, feedback, "
        "messages, promptCompletion, sharegpt, squad, text, textClassification or tokenClassification"
    ]
    assert refused(
        train=[source(format="preference")],
        data={"validation": {"dataset": {"uri": "pvc://data/v.jsonl", "format": "text"}}},
        method={"type": "dpo"},
    ) == [
        "spec.data.validation.dataset.format: method dpo cannot learn from text; it takes feedback, pairs or preference"
    ]


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


def test_feedback_becomes_what_the_method_learns_from() -> None:
    feedback = source(uri="modelserve://bot/feedback", format="feedback")
    accepted(train=[feedback, source("b")])
    accepted(train=[feedback, source("b", format="preference")], method=by("dpo"))
    accepted(train=[feedback, source("b", format="kto")], method=by("kto"))
    accepted(train=[feedback], data={"validation": {"dataset": {key: feedback[key] for key in ("uri", "format")}}})
    assert refused(train=[feedback, source("b", format="textClassification")]) == [
        "spec.data.train: formats feedback and textClassification cannot be learnt by one job; use one for each"
    ]
    assert refused(train=[source(uri="modelserve://bot/feedback")]) == [
        "spec.data.train[0].format: modelserve://bot/feedback holds feedback, and format is messages; set feedback"
    ]
    other = {"uri": "modelserve://bot/feedback", "format": "feedback"}
    assert refused(train=[source()], data={"quality": {"decontaminateAgainst": [other]}}) == [
        "spec.data.quality.decontaminateAgainst[0]: feedback is for data.train and data.validation; use other records"
    ]


@pytest.mark.parametrize("uri", ["modelserve://bot", "modelserve://bot/exchanges", "modelserve://Bot/feedback"])
def test_a_model_serve_gives_feedback_alone(uri: str) -> None:
    (problem,) = refused(train=[source(uri=uri, format="feedback")])
    assert problem.startswith("spec.data.train[0].uri")


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


def test_pairs_and_their_judge() -> None:
    pairs = source(format="pairs")
    assert refused(train=[pairs], method={"type": "dpo"}) == [
        "spec.data.judge: data.train[0] is of format pairs, and nobody says which answers are better; set judge, or "
        "use format preference"
    ]
    assert refused(train=[source(format="preference")], data=judged(), method={"type": "rm"}) == [
        "spec.data.judge: no dataset is of format pairs, so that there is nothing to judge; leave it out"
    ]
    assert refused(train=[pairs], data=judged(), method={"type": "kto"}) == [
        "spec.data.train[0].format: method kto cannot learn from pairs; it takes feedback or kto"
    ]
    assert refused(train=[source()], data=judged()) == [
        "spec.data.judge: no dataset is of format pairs, so that there is nothing to judge; leave it out"
    ]
    held = {"validation": {"dataset": {"uri": "pvc://data/v.jsonl", "format": "pairs"}}}
    accepted(train=[source(format="preference")], data=judged() | held, method={"type": "rm"})
    accepted(train=[source(format="preference"), source("b", format="pairs")], data=judged(), method={"type": "orpo"})


@pytest.mark.parametrize("url", ["judge/v1", "ftp://judge/v1", "http://user:word@judge/v1", "http://judge/v1?key=a"])
def test_an_address_of_a_judge_that_is_none(url: str) -> None:
    judge = {"judge": {"url": url, "model": "wise"}}
    (said,) = refused(train=[source(format="pairs")], data=judge, method={"type": "rm"})
    assert said.startswith("spec.data.judge.url: ")


def test_a_reward_model_in_two_stages() -> None:
    general, domain = source(format="preference"), source("b", format="preference")
    held = {"validation": {"fraction": 0.1}}

    def two(*train: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"type": "rm", "rm": {"domain": {"train": list(train), **more}}}

    accepted(train=[general], data=held, method=two(domain, level=0.99, maxSteps=9, learningRate=1e-5))
    accepted(train=[general], data=held | judged(), method=two(source("b", format="pairs")))
    accepted(train=[general], data=held, method=two(domain), deepspeed={"zeroStage": 2}, workers=2)
    assert refused(train=[general], method=two(domain)) == [
        "spec.data.validation: how surely the first stage judges the pairs of method.rm.domain shows on general pairs "
        "that it has not learnt from; set fraction or dataset"
    ]
    assert refused(train=[general], data=held, method=two(source(format="preference"), source("b"))) == [
        "spec.method.rm.domain.train[1].format: method rm cannot learn from messages; it takes feedback, pairs or "
        "preference",
        "spec.method.rm.domain.train: more than one dataset has the name a; give each a name of its own",
    ]
    assert refused(train=[general], data=held, method=two(domain | {"weight": 2})) == [
        "spec.method.rm.domain.train[0].weight: unknown field; known here: columns, format, name, split, uri"
    ]
    many = [source(f"g{number}", format="preference") for number in range(64)]
    assert refused(train=many, data=held, method=two(domain)) == [
        "spec.method.rm.domain.train: with data.train there are 65 datasets, and a job has at most 64"
    ]
    assert refused(
        train=[general],
        data=held,
        method=two(domain),
        deepspeed={"zeroStage": 3},
        evaluation={"earlyStopping": {}},
    ) == [
        "spec.evaluation.earlyStopping: cannot tell the two stages of method.rm.domain apart; leave it out, and set "
        "maxSteps for each stage",
        "spec.deepspeed.zeroStage: by stage 3 no worker has all of the weights that judge the pairs of "
        "method.rm.domain; use 2",
    ]
    assert refused(train=[general], data=held, method={**two(domain), "type": "dpo"}) == [
        "spec.method: rm holds settings of method rm, and type is dpo"
    ]


def early(metric: str) -> dict[str, Any]:
    return {"earlyStopping": {"metric": metric}}


FRESH = {"name": "fresh", "perplexity": {"uri": "pvc://data/news.jsonl"}}
FACTS = {"name": "facts", "golden": {"uri": "pvc://data/facts.jsonl", "metrics": ["f1"]}}
HELD_OUT = {"train": [source()], "validation": {"fraction": 0.1}}


def test_a_metric_to_stop_by_that_nobody_measures() -> None:
    accepted(data=HELD_OUT, evaluation=early("evalLoss"))
    accepted(evaluation={"suites": [FRESH, FACTS], **early("facts/f1")})
    assert refused(evaluation=early("evalLoss")) == [
        "spec.evaluation.earlyStopping.metric: evalLoss is measured on validation records; set data.validation, or "
        "name a metric of a suite"
    ]
    assert refused(data=HELD_OUT, evaluation={"suites": [FRESH, FACTS], **early("fresh/f1")}) == [
        "spec.evaluation.earlyStopping.metric: no suite gives fresh/f1; there is evalLoss, fresh/perplexity and "
        "facts/f1"
    ]
    assert refused(evaluation=early("fresh/f1")) == ["spec.evaluation.earlyStopping.metric: no suite gives fresh/f1"]
    assert refused(data=HELD_OUT, method=by("grpo"), evaluation=early("evalLoss")) == [
        "spec.evaluation.earlyStopping.metric: evalLoss of method grpo is near 0 however good the answers are; name a "
        "metric of a suite"
    ]


def test_suites_that_the_trained_model_cannot_answer() -> None:
    suites = {"suites": [FRESH]}
    accepted(train=[source(format="preference")], method=by("dpo"), evaluation=suites)
    assert refused(train=[source(format="preference")], method=by("rm"), evaluation=suites) == [
        "spec.evaluation.suites: ask a model that writes, and method rm makes one that judges; drop them"
    ]
    assert refused(model={"uri": "pvc://m/base", "task": "seq2seq-lm"}, evaluation=suites) == [
        "spec.evaluation.suites: are for task causal-lm, and model.task is seq2seq-lm; drop them"
    ]
    assert refused(train=[source(format="textClassification")], evaluation=suites) == [
        "spec.evaluation.suites: ask a model that writes, and textClassification makes a classifier; drop them"
    ]


def test_suites_that_cannot_be_told_apart_or_counted_or_run_between_steps() -> None:
    assert refused(evaluation={"suites": [FRESH, FRESH]}) == [
        "spec.evaluation: suites has more than one suite named fresh"
    ]
    all_metrics = ["exactMatch", "f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL"]
    many = [
        {"name": f"s{number}", "golden": {"uri": "pvc://data/facts.jsonl", "metrics": all_metrics}}
        for number in range(10)
    ]
    accepted(evaluation={"suites": many[:9]})
    assert refused(evaluation={"suites": many}) == [
        "spec.evaluation.suites: give 70 metrics, and status has room for 63 besides evalLoss; drop some"
    ]
    spread = {"zeroStage": 3}
    accepted(deepspeed=spread, evaluation={"suites": [FRESH]})
    accepted(deepspeed=spread, data=HELD_OUT, evaluation={"parallel": False, **early("evalLoss")})
    assert refused(deepspeed=spread, evaluation={"suites": [FRESH], "parallel": False}) == [
        "spec.evaluation.parallel: by zeroStage 3 no worker has all of the weights between steps; leave it out, so "
        "that a process of its own measures the checkpoints, or use stage 2"
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
