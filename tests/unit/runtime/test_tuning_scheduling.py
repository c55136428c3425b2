"""ASHA ends the worse trials, and remembers those of earlier attempts."""

from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tests.unit.runtime.test_tuning_drawing import run
from tunesmith_runtime.train.tuning.scheduling import InOrder, scheduler
from tunesmith_runtime.train.tuning.table import Table, Trial


@dataclass(frozen=True)
class Run:
    """A trial as Ray Tune knows it."""

    trial_id: str


def table(*trials: Trial, **tuning: Any) -> Table:
    config = run({"trials": max(1, len(trials)), **tuning}).tuning
    assert config is not None
    return Table(config, trials, "pvc://models/c", "data-1")


def over(number: int, *reports: tuple[int, float]) -> Trial:
    return Trial(number, {}, state="Succeeded", reports=list(reports))


def decide(asha: TrialScheduler, trial: Run, step: int, value: float) -> str:
    return str(asha.on_trial_result(None, trial, {"step": step, "value": value}))


def test_a_trial_that_is_worse_than_earlier_ones_ends_at_the_grace_step() -> None:
    known = table(over(1, (10, 2.0), (20, 1.5)), over(2, (10, 2.2)), scheduler={"graceSteps": 10, "reductionFactor": 2})
    asha = scheduler(run(), known)
    good, bad = Run("a"), Run("b")
    for each in (good, bad):
        asha.on_trial_add(None, each)
    assert decide(asha, bad, 5, 9.0) == "CONTINUE"
    assert decide(asha, bad, 10, 9.0) == "STOP"
    assert decide(asha, good, 10, 1.9) == "CONTINUE"
    # Beyond the steps that a trial has there is always another one.
    assert decide(asha, good, 20, 1.9) == "STOP"


def test_a_metric_that_is_better_larger() -> None:
    known = table(over(1, (4, 0.5)), over(2, (4, 0.6)), metric="facts/f1", scheduler={"reductionFactor": 2})
    asha = scheduler(run(), known)
    for name, value, decision in (("a", 0.1, "STOP"), ("b", 0.9, "CONTINUE")):
        asha.on_trial_add(None, Run(name))
        assert decide(asha, Run(name), 4, value) == decision


def test_what_a_trial_tells_between_its_checkpoints_decides_nothing() -> None:
    asha = scheduler(run(), table(over(1, (4, 1.0))))
    asha.on_trial_add(None, Run("a"))
    assert asha.on_trial_result(None, Run("a"), {"steps": 6}) == "CONTINUE"


def test_without_a_scheduler_all_trials_run_to_their_end() -> None:
    assert type(scheduler(run(), table(scheduler={"type": "none"}))) is FIFOScheduler


def test_no_trial_begins_after_the_time_is_over() -> None:
    generator = InOrder(2, lambda: True)
    assert generator.next_trial() is None
    assert generator.is_finished()
