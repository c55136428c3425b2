"""What a search may try is known before anything starts."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import FINE_TUNE_JOB_SPEC, fine_tune_job
from tunesmith_api.errors import explain
from tunesmith_api.tunables import placed, tunable
from tunesmith_api.tuning import scalar, written

RATE = {"name": "training.learningRate", "logUniform": {"min": 1e-5, "max": 1e-3}}
VALIDATED = FINE_TUNE_JOB_SPEC["data"] | {"validation": {"fraction": 0.1}}
SUITES = [{"name": "facts", "golden": {"uri": "pvc://data/heldout.jsonl", "metrics": ["f1"]}}]


def job(*parameters: dict[str, Any], spec: dict[str, Any] | None = None, **tuning: Any) -> None:
    changes = {
        "data": VALIDATED,
        **(spec or {}),
        "tuning": {"parameters": list(parameters) or [RATE], "trials": 1, **tuning},
    }
    fine_tune_job(**changes)


def refused(*parameters: dict[str, Any], spec: dict[str, Any] | None = None, **tuning: Any) -> list[str]:
    with pytest.raises(ValidationError) as error:
        job(*parameters, spec=spec, **tuning)
    return explain(error.value)


def choice(name: str, *values: str) -> dict[str, Any]:
    return {"name": name, "choice": list(values)}


def test_numbers_words_and_switches_of_the_jobs_own_method_can_be_tuned() -> None:
    job(
        RATE,
        choice("method.adapter.r", "8", "16"),
        {"name": "training.weightDecay", "uniform": {"min": 0, "max": 0.1}},
        {"name": "training.warmupSteps", "intUniform": {"min": 0, "max": 100}},
        choice("training.lrSchedulerType", "linear", "cosine"),
        choice("method.adapter.useDora", "true", "false"),
    )
    pairs = [{"name": "a", "uri": "pvc://data/a.jsonl", "format": "preference"}]
    dpo = {"data": VALIDATED | {"train": pairs}, "method": {"type": "dpo"}}
    job({"name": "method.dpo.beta", "uniform": {"min": 0.1, "max": 0.5}}, spec=dpo)
    assert "method.dpo.beta" in tunable("dpo")
    assert "method.dpo.beta" not in tunable("sft")
    assert not {"method.type", "method.adapter.continueFrom", "method.adapter.targetModules"} & {*tunable("sft")}


def test_a_setting_that_is_not_there_is_told_apart_by_what_is_near() -> None:
    assert refused(choice("training.learning_rates", "1")) == [
        "spec.tuning.parameters[0].name: training.learning_rates cannot be tuned; did you mean training.learningRate?"
    ]
    can_be = "numbers, words of a list and switches of training, method.adapter and method.sft can be"
    for name in ("data.maxLength", "method.type", "method.dpo.beta", "output.merge"):
        (said,) = refused(choice(name, "1"))
        assert said.startswith(f"spec.tuning.parameters[0].name: {name} cannot be tuned; ")
        assert can_be in said or "there is" in said
    (said,) = refused(choice("method.adapter.targetModules", "all-linear"))
    assert "there is method.adapter.type, method.adapter.r, " in said


def test_values_that_the_setting_cannot_have() -> None:
    assert refused({"name": "training.learningRate", "uniform": {"min": 1, "max": 100}}) == [
        "spec.tuning.parameters[0]: training.learningRate: 100.0 is out of bounds; it must be less than or equal to 10"
    ]
    assert refused({"name": "training.warmupSteps", "uniform": {"min": 0.5, "max": 10}}) == [
        "spec.tuning.parameters[0]: training.warmupSteps: 0.5 is not a whole number; use intUniform"
    ]
    assert refused(choice("training.lrSchedulerType", "linear", "cosinus")) == [
        "spec.tuning.parameters[0]: training.lrSchedulerType: 'cosinus' is not allowed; use linear, cosine, constant "
        "or constant_with_warmup"
    ]
    # Also what does not go together with the rest of the spec.
    assert refused(choice("training.precision", "fp32", "fp16")) == [
        "spec.tuning.parameters[0]: training.precision: fp16 needs a CUDA GPU; set resources.gpu, or use bf16 or fp32"
    ]


def test_what_is_wrong_without_the_search_is_said_once() -> None:
    assert refused(spec={"training": {"precision": "fp16"}}) == [
        "spec.training.precision: fp16 needs a CUDA GPU; set resources.gpu, or use bf16 or fp32"
    ]


def test_domains() -> None:
    one = "spec.tuning.parameters[0]: set exactly one of uniform, logUniform, intUniform and choice"
    assert refused({"name": "training.weightDecay"}) == [one]
    assert refused({**RATE, "choice": ["1e-4"]}) == [one]
    assert refused({"name": "training.weightDecay", "uniform": {"min": 0.1, "max": 0.1}}) == [
        "spec.tuning.parameters[0].uniform: min must be less than max"
    ]
    (said,) = refused({"name": "training.learningRate", "logUniform": {"min": 0, "max": 1}})
    assert "spec.tuning.parameters[0].logUniform.min: 0 is out of bounds" in said
    assert refused(RATE, RATE) == ["spec.tuning: parameters has training.learningRate more than once"]
    assert refused(choice("method.adapter.r", "8", "16"), trials=3) == [
        "spec.tuning.trials: 3 trials, and there are only 2 different ones; use at most as many"
    ]
    (said,) = refused(trials=0)
    assert said.startswith("spec.tuning.trials: 0 is out of bounds")


def test_the_metric_must_be_measured() -> None:
    assert refused(spec={"data": FINE_TUNE_JOB_SPEC["data"]}) == [
        "spec.tuning.metric: evalLoss is measured on validation records; set data.validation"
    ]
    assert refused(metric="facts/f1") == ["spec.tuning.metric: no suite gives facts/f1; set evaluation.suites"]
    assert refused(metric="facts/bleu", spec={"evaluation": {"suites": SUITES}}) == [
        "spec.tuning.metric: no suite gives facts/bleu; there is facts/f1"
    ]
    assert refused(spec={"evaluation": {"suites": SUITES, "earlyStopping": {"metric": "facts/f1"}}}) == [
        "spec.tuning.metric: evalLoss is not what evaluation.earlyStopping looks at (facts/f1), and a trial has one "
        "best checkpoint; name the same metric in both"
    ]
    grpo = {"type": "grpo", "rewards": [{"function": "exactMatch"}]}
    (said,) = refused(spec={"method": grpo})
    assert said.startswith("spec.tuning.metric: evalLoss of method grpo is near 0")
    job(metric="facts/f1", spec={"data": FINE_TUNE_JOB_SPEC["data"], "evaluation": {"suites": SUITES}})


def test_a_trial_trains_on_one_worker() -> None:
    assert refused(maxConcurrentTrials=5, spec={"workers": 2, "resources": {"gpu": 2}}) == [
        "spec.tuning.maxConcurrentTrials: each trial has a GPU of its own, and the workers have 4 together; use at "
        "most 4"
    ]
    assert refused(maxConcurrentTrials=2, spec={"workers": 4}) == [
        "spec.workers: with maxConcurrentTrials 2 no more than 2 workers have something to do: each trial trains on "
        "one; use as many workers, or fewer"
    ]
    assert refused(spec={"deepspeed": {"zeroStage": 2}}) == [
        "spec.deepspeed: spreads one training over several workers, and each trial trains on one; leave it out"
    ]
    # Two answers on each of four workers make a group of eight together, and none alone.
    grpo = {"type": "grpo", "rewards": [{"function": "exactMatch"}]}
    group = {"method": grpo, "evaluation": {"suites": SUITES}, "workers": 4}
    (said,) = refused(metric="facts/f1", spec={**group, "training": {"perDeviceTrainBatchSize": 2}})
    assert said.startswith("spec.tuning.parameters[0]: training.perDeviceTrainBatchSize: an optimizer step has 2 seq")
    job(maxConcurrentTrials=5, spec={"workers": 2})


def test_the_two_stages_of_a_reward_model_cannot_be_compared() -> None:
    pairs = [{"name": "a", "uri": "pvc://data/a.jsonl", "format": "preference"}]
    domain = {"train": [{"name": "b", "uri": "pvc://data/b.jsonl", "format": "preference"}]}
    method = {"type": "rm", "rm": {"domain": domain}}
    said = refused(spec={"data": VALIDATED | {"train": pairs}, "method": method})
    assert "spec.tuning: cannot compare trials of the two stages of method.rm.domain; leave one of them out" in said


def test_schedulers() -> None:
    assert refused(scheduler={"type": "none", "graceSteps": 10, "reductionFactor": 4}) == [
        "spec.tuning.scheduler.graceSteps: is for type asha, and type is none; leave it out",
        "spec.tuning.scheduler.reductionFactor: is for type asha, and type is none; leave it out",
    ]
    assert refused(scheduler={"graceSteps": 500}, spec={"training": {"maxSteps": 100}}) == [
        "spec.tuning.scheduler.graceSteps: 500 is more than the 100 steps of a trial, so that none would end early; "
        "lower it, or use type none"
    ]


@pytest.mark.parametrize(
    ("text", "value"), [("8", 8), ("0.1", 0.1), ("1e-4", 1e-4), ("true", True), ("cosine", "cosine"), ("[1]", "[1]")]
)
def test_a_choice_is_read_as_yaml_reads_a_scalar(text: str, value: object) -> None:
    found = scalar(text)
    assert found == value
    assert type(found) is type(value)
    assert scalar(written(found)) == value


def test_values_are_placed_without_touching_the_rest() -> None:
    document = {"training": {"seed": 1}, "method": {"type": "dpo"}}
    assert placed(document, {"method.dpo.beta": 0.2, "training.seed": 2}) == {
        "training": {"seed": 2},
        "method": {"type": "dpo", "dpo": {"beta": 0.2}},
    }
    assert document == {"training": {"seed": 1}, "method": {"type": "dpo"}}
