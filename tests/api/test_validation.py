"""What a person reads who made a mistake."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import EVAL_JOB_SPEC, FINE_TUNE_JOB_SPEC, MODEL_SERVE_SPEC, manifest
from tunesmith_api.errors import explain
from tunesmith_api.resources import EvalJob, parse


def said(kind: str, spec: dict[str, Any], name: str = "bot") -> list[str]:
    return refused(manifest(kind, name, spec))


def refused(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as error:
        parse(data)
    return explain(error.value)


def tuning(**changes: Any) -> list[str]:
    return said("FineTuneJob", {**FINE_TUNE_JOB_SPEC, **changes})


def evaluating(**changes: Any) -> list[str]:
    return said("EvalJob", {**EVAL_JOB_SPEC, **changes})


def test_the_builders_are_valid() -> None:
    for kind, spec in (
        ("FineTuneJob", FINE_TUNE_JOB_SPEC),
        ("EvalJob", EVAL_JOB_SPEC),
        ("ModelServe", MODEL_SERVE_SPEC),
    ):
        assert parse(manifest(kind, "bot", spec)).metadata.name == "bot"


def test_an_unknown_field_with_the_nearest_known_one() -> None:
    assert tuning(traning={}) == ["spec.traning: unknown field; did you mean training?"]
    assert tuning(training={"learning_rate": 1.0}) == [
        "spec.training.learning_rate: unknown field; did you mean learningRate?"
    ]
    assert said("ModelServe", {**MODEL_SERVE_SPEC, "engine": {"kind": "x"}}) == [
        "spec.engine.kind: unknown field; known here: type"
    ]


def test_a_wrong_type() -> None:
    assert tuning(training={"warmupSteps": "ten"}) == ["spec.training.warmupSteps: 'ten' is not a whole number"]
    assert tuning(training={"warmupSteps": 1.5}) == ["spec.training.warmupSteps: 1.5 is not a whole number"]
    assert tuning(training={"learningRate": "1e-4"}) == ["spec.training.learningRate: '1e-4' is not a number"]
    assert tuning(training=[]) == ["spec.training: [] is not a mapping"]
    assert tuning(model={"uri": 3}) == ["spec.model.uri: 3 is not a string"]


def test_a_bound_that_is_broken() -> None:
    assert tuning(training={"learningRate": -1}) == [
        "spec.training.learningRate: -1 is out of bounds; it must be greater than or equal to 0"
    ]
    assert said("ModelServe", {**MODEL_SERVE_SPEC, "port": 80}) == [
        "spec.port: 80 is out of bounds; it must be greater than or equal to 1024"
    ]


def test_two_errors_at_once() -> None:
    assert tuning(output={}, training={"seed": -1}) == [
        "spec.training.seed: -1 is out of bounds; it must be greater than or equal to 0",
        "spec.output.uri: missing; it is required",
    ]


def test_a_word_that_is_not_allowed() -> None:
    data = {"train": [{"name": "a", "uri": "pvc://data/x", "format": "alpca"}]}
    (sentence,) = tuning(data=data)
    assert sentence.startswith("spec.data.train[0].format: 'alpca' is not allowed; use alpaca, dolly, squad, messages")


def test_a_kind_that_is_unknown_or_missing() -> None:
    assert said("FinetuneJob", FINE_TUNE_JOB_SPEC) == [
        "kind: 'FinetuneJob' is not a kind of tunesmith.dev/v1alpha1; use FineTuneJob, EvalJob or ModelServe"
    ]
    without = manifest("FineTuneJob", "bot", FINE_TUNE_JOB_SPEC)
    del without["kind"]
    assert refused(without) == ["kind: missing; use FineTuneJob, EvalJob or ModelServe"]


def test_a_name_that_kubernetes_would_refuse() -> None:
    (sentence,) = said("FineTuneJob", FINE_TUNE_JOB_SPEC, name="My_Bot")
    assert sentence.startswith("metadata.name: 'My_Bot' does not match ")


def test_a_uri_that_climbs_out_or_has_no_known_scheme() -> None:
    assert tuning(output={"uri": "pvc://models/../x"}) == ["spec.output.uri: pvc://models/../x must not contain '..'"]
    (sentence,) = tuning(checkpoints={"uri": "/models/x"})
    assert sentence.startswith("spec.checkpoints.uri: '/models/x' does not match ^(pvc|s3|file)://")


def test_a_model_cannot_take_the_place_of_a_whole_claim() -> None:
    (sentence,) = tuning(output={"uri": "pvc://models"})
    assert sentence.startswith("spec.output.uri: 'pvc://models' does not match ")


def test_a_quantity() -> None:
    assert tuning(resources={"memory": "4 GB"}) == [
        "spec.resources.memory: '4 GB' is not a quantity such as 2, 500m or 16Gi"
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"target": {}}, "spec.target: set exactly one of fineTuneJob and uri"),
        (
            {"target": {"fineTuneJob": "a", "uri": "hf://a/b"}},
            "spec.target: set exactly one of fineTuneJob and uri",
        ),
        ({"suites": [{"name": "a"}]}, "spec.suites[0]: set exactly one of golden, perplexity and harness"),
        (
            {"gates": [{"metric": "facts/f1"}]},
            "spec.gates[0]: set at least one of min, max and minImprovement",
        ),
        (
            {"gates": [{"metric": "facts/bleu", "min": 1}]},
            "spec: every gate must be on a metric that one of the suites gives; "
            "facts/bleu is not among facts/exactMatch, facts/f1",
        ),
        (
            {"gates": [{"metric": "facts/f1", "minImprovement": 0.1}]},
            "spec: minImprovement needs a baseline; set spec.baseline, or drop it from the gate on facts/f1",
        ),
        (
            {"gates": [{"metric": "facts/f1", "min": 0.1}, {"metric": "facts/f1", "max": 1}]},
            "spec: gates has more than one gate on facts/f1; put its bounds into one",
        ),
        (
            {"suites": [{"name": "facts", "golden": {"uri": "pvc://d/x", "format": "text"}}]},
            "spec.suites[0].golden: format text has no reference answers; use a format with a completion",
        ),
        (
            {"suites": [{"name": "facts", "golden": {"uri": "pvc://d/x", "metrics": ["f1", "f1"]}}]},
            "spec.suites[0].golden: metrics names a metric twice",
        ),
        (
            {"suites": [{"name": "a", "golden": {"uri": "pvc://d/x"}}, {"name": "a", "golden": {"uri": "pvc://d/x"}}]},
            "spec: suites has more than one suite named a",
        ),
        ({"suites": []}, "spec.suites: has 0 items; it needs at least 1"),
        (
            {"suites": [{"name": "a", "harness": {"tasks": []}}]},
            "spec.suites[0].harness.tasks: has 0 items; it needs at least 1",
        ),
        (
            {"suites": [{"name": "a", "harness": {"tasks": ["mmlu", "mmlu"]}}]},
            "spec.suites[0].harness: tasks names mmlu more than once",
        ),
        (
            {
                "suites": [{"name": "a", "harness": {"tasks": ["mmlu"]}}],
                "gates": [{"metric": "a/acc", "min": 1}],
            },
            "spec: every gate must be on a metric that one of the suites gives; a/acc is not among a/TASK/METRIC",
        ),
    ],
)
def test_rules_across_fields(changes: dict[str, Any], sentence: str) -> None:
    assert evaluating(**changes) == [sentence]


def test_a_gate_may_be_on_any_task_of_a_harness_suite() -> None:
    suites = [{"name": "a", "harness": {"tasks": ["mmlu"]}}]
    gates = [{"metric": "a/mmlu_anatomy/acc", "min": 0.5}]
    job = parse(manifest("EvalJob", "bot", {**EVAL_JOB_SPEC, "suites": suites, "gates": gates}))
    assert isinstance(job, EvalJob)
    assert [gate.metric for gate in job.spec.gates] == ["a/mmlu_anatomy/acc"]


def test_validation_data_has_one_source() -> None:
    data = {**FINE_TUNE_JOB_SPEC["data"], "validation": {}}
    assert tuning(data=data) == ["spec.data.validation: set exactly one of fraction and dataset"]


def test_datasets_have_names_of_their_own() -> None:
    train = FINE_TUNE_JOB_SPEC["data"]["train"]
    assert tuning(data={"train": [*train, *train]}) == ["spec.data: train has more than one dataset named tickets"]


def test_requirements_are_named_once() -> None:
    spec = {**MODEL_SERVE_SPEC, "requires": [{"evalJob": "a"}, {"evalJob": "a"}]}
    assert said("ModelServe", spec) == ["spec: requires names an EvalJob twice"]
