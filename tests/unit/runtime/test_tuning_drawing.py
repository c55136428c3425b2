"""Which trials a search has: the same for the same seed, each another one, and each a run of its own."""

import json
import math
from typing import Any

from tunesmith_api.contract import TrainRun
from tunesmith_api.placement import devices, trials_at_once
from tunesmith_api.tuning import Tuning
from tunesmith_runtime.train.tuning.drawing import draw, run_of

RATE = {"name": "training.learningRate", "logUniform": {"min": 1e-5, "max": 1e-3}}


def search(*parameters: dict[str, Any], **settings: Any) -> Tuning:
    return Tuning.model_validate_json(json.dumps({"parameters": parameters or [RATE], **settings}))


def run(tuning: dict[str, Any] | None = None, **changes: Any) -> TrainRun:
    config = {
        "run": {"kind": "FineTuneJob", "namespace": "default", "name": "bot", "uid": "u", "attempt": 1},
        "model": "pvc://models/base",
        "data": {"train": [{"name": "items", "uri": "pvc://data/train.jsonl", "format": "messages"}]},
        "method": {},
        "training": {"maxSteps": 8},
        "checkpoints": {"uri": "pvc://models/c", "everySteps": 4, "keep": 2},
        "output": {"uri": "pvc://models/bot"},
        "tuning": {"parameters": [RATE], **(tuning or {})},
        **changes,
    }
    return TrainRun.model_validate_json(json.dumps(config))


def test_each_domain_gives_what_it_says() -> None:
    tuning = search(
        RATE,
        {"name": "training.weightDecay", "uniform": {"min": 0, "max": 0.1}},
        {"name": "training.warmupSteps", "intUniform": {"min": 0, "max": 3}},
        {"name": "method.adapter.r", "choice": ["8", "16"]},
        trials=200,
    )
    trials = draw(tuning)
    rates = [float(each["training.learningRate"]) for each in trials]
    assert all(1e-5 <= rate <= 1e-3 for rate in rates)
    # Half of them are below the geometric mean of the ends, where a plain range would have a tenth.
    assert 60 < sum(rate < 1e-4 for rate in rates) < 140
    assert math.isclose(sum(float(each["training.weightDecay"]) for each in trials) / 200, 0.05, abs_tol=0.01)
    assert {each["training.warmupSteps"] for each in trials} == {0, 1, 2, 3}
    assert {each["method.adapter.r"] for each in trials} == {8, 16}


def test_the_seed_decides_and_more_trials_begin_with_the_same() -> None:
    assert draw(search(trials=4)) == draw(search(trials=8))[:4]
    assert draw(search(trials=4)) != draw(search(trials=4, seed=1))


def test_no_two_trials_are_the_same() -> None:
    words = {"name": "training.lrSchedulerType", "choice": ["linear", "cosine"]}
    ranks = {"name": "method.adapter.r", "choice": ["4", "8", "16"]}
    trials = draw(search(words, ranks, trials=6))
    assert len({tuple(each.values()) for each in trials}) == 6


def test_a_trial_is_a_run_of_one_worker_with_checkpoints_of_its_own() -> None:
    config = run(workers=4, gpus=2)
    trial = run_of(config, 3, {"training.learningRate": 2e-4, "method.adapter.r": 8})
    assert (trial.training.learning_rate, trial.method.adapter.r) == (2e-4, 8)
    assert (trial.workers, trial.gpus, trial.tuning) == (1, 1, None)
    assert trial.checkpoints.uri == "pvc://models/c/trial-3"
    assert trial.training.max_steps == config.training.max_steps


def test_a_trial_keeps_its_best_checkpoint_and_ends_early_only_where_the_spec_says_so() -> None:
    stopping = run_of(run(), 1, {}).evaluation
    assert stopping is not None
    assert stopping.early_stopping is not None
    assert (stopping.early_stopping.metric, stopping.early_stopping.patience) == ("evalLoss", 1000)
    patient = run_of(run(evaluation={"earlyStopping": {"patience": 2}}), 1, {}).evaluation
    assert patient is not None
    assert patient.early_stopping is not None
    assert patient.early_stopping.patience == 2


def test_trials_at_once() -> None:
    """With GPUs one on each; on CPUs one in each pod, or as many as are wanted, shared out evenly."""
    for changes, at_once, in_each_pod in (
        ({}, 1, 1),
        ({"workers": 4}, 4, 1),
        ({"workers": 2, "gpus": 4}, 8, 4),
        ({"workers": 2, "gpus": 4, "tuning": {"maxConcurrentTrials": 3}}, 3, 4),
        ({"tuning": {"maxConcurrentTrials": 3}}, 3, 3),
        ({"workers": 2, "tuning": {"maxConcurrentTrials": 5}}, 5, 3),
    ):
        config = run(**changes)
        assert (trials_at_once(config), devices(config)) == (at_once, in_each_pod)
