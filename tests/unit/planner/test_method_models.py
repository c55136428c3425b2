"""Reward models and teachers that another FineTuneJob publishes are waited for, as base models are."""

from datetime import UTC, datetime
from typing import Any

from tests.builders import fine_tune_job
from tunesmith_api import conditions as c
from tunesmith_api.contract import TrainRun
from tunesmith_api.finetunejob import FineTuneJobStatus, PublishedModel
from tunesmith_api.meta import Condition, Reference
from tunesmith_api.resources import FineTuneJob, reference
from tunesmith_operator.planner import AnyPlan, Observed, plan
from tunesmith_operator.planner.references import named_by

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
JUDGED = {
    "type": "ppo",
    "rewards": [{"function": "jsonValid"}, {"model": "finetunejob://judge", "weight": 0.5}],
}
TAUGHT = {"type": "distill", "distill": {"teacher": "finetunejob://teacher"}}


def published(name: str) -> FineTuneJob:
    model = PublishedModel(uri=f"pvc://models/{name}")
    return fine_tune_job(name=name, status=FineTuneJobStatus(phase="Succeeded", output=model))


def observing(*jobs: FineTuneJob) -> Observed:
    return Observed(resources={reference(each): each for each in jobs})


def condition(result: AnyPlan, kind: str) -> Condition:
    return next(each for each in result.status.conditions if each.type == kind)


def config(job: FineTuneJob, *others: FineTuneJob) -> TrainRun:
    (workload,) = plan(job, observing(*others), NOW).ensure
    assert isinstance(workload.config, TrainRun)
    return workload.config


def with_method(method: dict[str, Any]) -> FineTuneJob:
    return fine_tune_job(method=method)


def test_a_reward_model_is_waited_for() -> None:
    job = with_method(JUDGED)
    missing = plan(job, observing(), NOW)
    assert (missing.status.phase, missing.ensure) == ("Pending", ())
    assert "FineTuneJob judge, which does not exist" in condition(missing, c.RECONCILING).message

    waiting = plan(job, observing(fine_tune_job(name="judge")), NOW)
    assert condition(waiting, c.RECONCILING).message == "waits for FineTuneJob judge to succeed"

    rewards = config(job, published("judge")).method.rewards
    assert [(each.function, each.model, each.weight) for each in rewards] == [
        ("jsonValid", None, 1.0),
        (None, "pvc://models/judge", 0.5),
    ]


def test_a_teacher_is_waited_for() -> None:
    job = with_method(TAUGHT)
    assert plan(job, observing(fine_tune_job(name="teacher")), NOW).status.phase == "Pending"
    distill = config(job, published("teacher")).method.distill
    assert distill is not None
    assert distill.teacher == "pvc://models/teacher"


def test_the_jobs_of_all_its_models_are_named() -> None:
    job = fine_tune_job(model={"uri": "finetunejob://judge"}, method=JUDGED)
    assert named_by(job) == (Reference(kind="FineTuneJob", name="judge"),)
    assert named_by(with_method(TAUGHT)) == (Reference(kind="FineTuneJob", name="teacher"),)


def test_jobs_that_judge_each_other_are_refused() -> None:
    bot = fine_tune_job(name="bot", model={"uri": "finetunejob://base"}, method=JUDGED)
    judge = fine_tune_job(name="judge", model={"uri": "finetunejob://bot"})
    base = fine_tune_job(name="base")
    result = plan(bot, observing(bot, judge, base), NOW)

    assert result.ensure == ()
    assert condition(result, c.STALLED).reason == c.REFERENCE_CYCLE
    assert "bot -> judge -> bot" in condition(result, c.STALLED).message
