"""What a person reads who made a mistake."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import EVAL_JOB_SPEC, FINE_TUNE_JOB_SPEC, MODEL_SERVE_SPEC, manifest
from tunesmith_api.errors import explain
from tunesmith_api.resources import EvalJob, parse
from tunesmith_api.suites import EvalSuite

# The kinds of a suite.
KINDS = [str(field.alias) for name, field in EvalSuite.model_fields.items() if name != "name"]


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
        "spec.engine.kind: unknown field; known here: args, custom, extraArgs, type"
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
        ({"target": {}}, "spec.target: set exactly one of fineTuneJob, uri, modelServe and endpoint"),
        (
            {"target": {"fineTuneJob": "a", "uri": "hf://a/b"}},
            "spec.target: set exactly one of fineTuneJob, uri, modelServe and endpoint",
        ),
        ({"suites": [{"name": "a"}]}, f"spec.suites[0]: set exactly one of {', '.join(KINDS[:-1])} and {KINDS[-1]}"),
        (
            {"gates": [{"metric": "facts/f1"}]},
            "spec.gates[0]: set at least one of min, max, minImprovement and maxRegression",
        ),
        (
            {"gates": [{"metric": "facts/bleu", "min": 1}]},
            "spec: every gate must be on a metric that one of the suites gives; "
            "facts/bleu is not among facts/exactMatch, facts/f1",
        ),
        (
            {"gates": [{"metric": "facts/f1", "minImprovement": 0.1}]},
            "spec: minImprovement and maxRegression need a baseline; set spec.baseline, or drop them from the gate on "
            "facts/f1",
        ),
        (
            {"gates": [{"metric": "facts/f1", "maxRegression": 0.1}]},
            "spec: minImprovement and maxRegression need a baseline; set spec.baseline, or drop them from the gate on "
            "facts/f1",
        ),
        (
            {"target": {"uri": "pvc://m/x", "checkpoint": "best"}},
            "spec.target: checkpoint is one of a FineTuneJob's; set fineTuneJob, or drop checkpoint",
        ),
        (
            {"target": {"fineTuneJob": "a", "adapter": "pvc://m/x"}},
            "spec.target: adapter goes on the model of uri; set uri, or drop adapter",
        ),
        (
            {
                "target": {"modelServe": "bot"},
                "suites": [{"name": "english", "perplexity": {"uri": "pvc://data/x.jsonl"}}],
            },
            "spec: suite english needs a model's own probabilities, which an endpoint does not give; let target name a "
            "model, or put the suite into an EvalJob of its own",
        ),
        (
            {"schedule": "0 3 * * *", "target": {"fineTuneJob": "a", "checkpoint": "each"}},
            "spec: schedule and checkpoint: each both say when to evaluate; drop one of them",
        ),
        (
            {"baseline": {"fineTuneJob": "a", "checkpoint": "each"}},
            "spec: baseline.checkpoint: each is for the target; name best, last or a step",
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


JUDGE = {"uri": "pvc://data/questions.jsonl", "endpoint": {"url": "http://judge/v1", "model": "wise"}}
BY_ENDPOINT = {"endpoint": {"url": "http://bot/v1", "model": "bot"}}


def judged(**settings: Any) -> dict[str, Any]:
    return {"suites": [{"name": "good", "judge": JUDGE | settings}]}


def loaded(target: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    return {"target": target or BY_ENDPOINT, "suites": [{"name": "speed", "performance": settings}]}


@pytest.mark.parametrize(
    "changes",
    [
        judged(),
        judged(scale={"min": 0, "max": 2}),
        judged(pairwise=True) | {"baseline": BY_ENDPOINT},
        judged(pairwise=True) | {"baseline": {"uri": "pvc://models/base"}},
        loaded(),
        loaded({"modelServe": "bot"}, concurrency=4, uri="pvc://data/prompts.jsonl"),
        loaded(requestRate=0.5, promptWords=10) | {"baseline": {"modelServe": "old"}},
        judged() | {"gates": [{"metric": "good/score", "min": 6}]},
        judged(criteria=[{"name": "a", "description": "?"}, {"name": "b", "description": "?"}])
        | {"gates": [{"metric": "good/b/score", "min": 6}]},
        judged(pairwise=True, humanLabels="pvc://data/labels.jsonl")
        | {"baseline": BY_ENDPOINT, "gates": [{"metric": "good/humanKappa", "min": 0.6}]},
        loaded() | {"gates": [{"metric": "speed/latencyP99", "max": 2}]},
    ],
)
def test_judges_and_loads_that_are_taken(changes: dict[str, Any]) -> None:
    assert parse(manifest("EvalJob", "bot", {**EVAL_JOB_SPEC, **changes}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            judged(pairwise=True),
            "spec: suite good compares the target's answers with the baseline's; set spec.baseline, or drop pairwise",
        ),
        (
            judged(pairwise=True, scale={}) | {"baseline": BY_ENDPOINT},
            "spec.suites[0].judge: scale is for scores, and pairwise compares answers; drop one of them",
        ),
        (
            judged(criteria=[{"name": "a", "description": "?"}] * 2),
            "spec.suites[0].judge: criteria has two of one name",
        ),
        (judged(criteria=[]), "spec.suites[0].judge.criteria: has 0 items; it needs at least 1"),
        (
            loaded({"fineTuneJob": "bot"}),
            "spec: suite speed measures an endpoint under load; let target name a modelServe or an endpoint, or put "
            "the suite into an EvalJob of its own",
        ),
        (
            loaded() | {"baseline": {"uri": "pvc://models/base"}},
            "spec: suite speed measures an endpoint under load; let baseline name a modelServe or an endpoint, or put "
            "the suite into an EvalJob of its own",
        ),
        (
            loaded(concurrency=2, requestRate=1.0),
            "spec.suites[0].performance: concurrency is a load of clients and requestRate one of arrivals; drop one of "
            "them",
        ),
        (
            loaded(uri="pvc://data/p.jsonl", promptWords=3),
            "spec.suites[0].performance: promptWords is for prompts that are made up, and uri names a file of them; "
            "drop one",
        ),
        (
            judged() | {"gates": [{"metric": "good/winRate", "min": 0.5}]},
            "spec: every gate must be on a metric that one of the suites gives; good/winRate is not among good/score",
        ),
    ],
)
def test_judges_and_loads_that_are_refused(changes: dict[str, Any], sentence: str) -> None:
    assert evaluating(**changes) == [sentence]


@pytest.mark.parametrize("suite", [{"judge": JUDGE}, {"performance": {}}])
def test_checkpoints_have_no_suites_that_ask_endpoints(suite: dict[str, Any]) -> None:
    (sentence,) = tuning(evaluation={"suites": [{"name": "good", **suite}]})
    assert sentence.startswith(f"spec.evaluation.suites[0].{next(iter(suite))}: ")


def test_what_does_not_fit_is_told_all_at_once() -> None:
    suites = [
        {"name": "tone", "judge": JUDGE | {"pairwise": True}},
        {"name": "speed", "performance": {}},
        {"name": "facts", "golden": {"uri": "pvc://d/x"}},
    ]
    gates = [
        {"metric": "facts/bleu", "min": 1},
        {"metric": "facts/f1", "maxRegression": 0.1},
        {"metric": "poems/f1", "minImprovement": 1},
    ]
    starts = [
        "spec: suite speed measures an endpoint under load",
        "spec: suite tone compares the target's answers with the baseline's",
        "spec: every gate must be on a metric that one of the suites gives; facts/bleu is not among",
        "spec: every gate must be on a metric that one of the suites gives; poems/f1 is not among",
        "spec: minImprovement and maxRegression need a baseline; set spec.baseline, or drop them from the gates on "
        "facts/f1, poems/f1",
    ]
    said = evaluating(suites=suites, gates=gates)
    assert [sentence[: len(start)] for sentence, start in zip(said, starts, strict=True)] == starts


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
