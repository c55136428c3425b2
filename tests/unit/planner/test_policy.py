"""What runPolicy asks for: suspension, deadlines, budgets, retries elsewhere, an end to silence, and deletion."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.builders import eval_job, fine_tune_job
from tunesmith_api import conditions as c
from tunesmith_api.contract import EvaluateResult, ProgressDocument, RunFailure, TrainResult, TrainRun
from tunesmith_api.evaljob import EvalJobStatus, Subject
from tunesmith_api.finetunejob import (
    AttemptRecord,
    CheckpointRecord,
    CheckpointStatus,
    FineTuneJobStatus,
    PublishedModel,
    Recovery,
    SkippedCheckpoint,
    TrainingProgress,
)
from tunesmith_api.meta import Condition
from tunesmith_api.resources import EvalJob, FineTuneJob
from tunesmith_operator.planner import AnyPlan, Observed, ObservedWorkload, Plan, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MODEL = PublishedModel(uri="pvc://models/support-bot", digest="sha256:aa", adapter=True)
GPUS = {"gpu": 4}


def after(**time: float) -> datetime:
    return NOW + timedelta(**time)


def job(policy: dict[str, Any] | None = None, *records: AttemptRecord, **spec: Any) -> FineTuneJob:
    status = FineTuneJobStatus(phase="Running" if records else "Pending", attempts=records)
    return fine_tune_job(status=status, runPolicy=policy or {}, **spec)


def record(number: int = 1, **known: Any) -> AttemptRecord:
    known = {"running_since": NOW, "started_at": NOW, **known}
    return AttemptRecord(number=number, workload=f"support-bot-a{number}", **known)


def ended(number: int = 1, reason: str = c.CRASHED, **known: Any) -> AttemptRecord:
    return record(number, ended_at=NOW, reason=reason, **known)


def run(number: int = 1, step: int = 40, at: datetime = NOW, **more: Any) -> ObservedWorkload:
    training = TrainingProgress(step=step, total_steps=100, percent=step)
    document = ProgressDocument(state="Running", training=training, updated_at=at, **more)
    return ObservedWorkload(f"support-bot-a{number}", "Running", progress=document)


def seeing(*workloads: ObservedWorkload, **leftovers: ProgressDocument) -> Observed:
    gone = {name.replace("_", "-"): document for name, document in leftovers.items()}
    return Observed({each.name: each for each in workloads}, leftovers=gone)


def then(resource: FineTuneJob, result: AnyPlan, **policy: Any) -> FineTuneJob:
    spec = resource.spec.model_copy(update={"run_policy": resource.spec.run_policy.model_copy(update=policy)})
    return resource.model_copy(update={"status": result.status, "spec": spec})


def status_of(result: AnyPlan) -> FineTuneJobStatus:
    assert isinstance(result.status, FineTuneJobStatus)
    return result.status


def said(result: AnyPlan, kind: str = c.RECONCILING) -> Condition:
    return next(each for each in result.status.conditions if each.type == kind)


def limits_of(result: AnyPlan) -> Any:
    (workload,) = result.ensure
    assert isinstance(workload.config, TrainRun)
    return workload.config.limits


# Suspension


def test_a_suspended_job_starts_nothing() -> None:
    result = plan(job({"suspend": True}), Observed(), NOW)

    assert (result.ensure, result.requeue_after) == ((), None)
    assert result.status.phase == "Suspended"
    assert said(result, c.SUSPENDED).status == "True"
    assert [said(result, kind).status for kind in (c.RECONCILING, c.STALLED, c.FAILED)] == ["False"] * 3


def test_suspending_ends_the_attempt_which_does_not_count_and_resuming_starts_the_next() -> None:
    resource = job({"suspend": True, "maxAttempts": 1}, record())
    ending = plan(resource, seeing(run()), NOW)
    assert ending.stop == ("support-bot-a1",)
    assert ending.status.phase == "Running"
    assert said(ending).reason == c.STOPPING

    going = then(resource, ending)
    still = plan(going, seeing(replace(run(), stopping=True)), after(seconds=5))
    assert (still.stop, still.ensure) == ((), ())

    last_words = ProgressDocument(
        state="Running",
        training=TrainingProgress(step=44, total_steps=100),
        checkpoint=CheckpointRecord(step=44, uri="pvc://models/x/checkpoint-44"),
    )
    paused = plan(then(resource, still), seeing(support_bot_a1=last_words), after(seconds=9))
    assert paused.status.phase == "Suspended"
    (attempt,) = status_of(paused).attempts
    assert (attempt.reason, attempt.to_step, attempt.stopping) == (c.SUSPENDED, 44, None)
    assert "attempts go on from pvc://models/x/checkpoint-44" in said(paused, c.SUSPENDED).message

    resumed = plan(then(resource, paused, suspend=False), Observed(), after(hours=1))
    assert [each.name for each in resumed.ensure] == ["support-bot-a2"]
    assert said(resumed, c.SUSPENDED).status == "False"


def test_an_attempt_that_is_ending_is_not_called_back() -> None:
    resource = job({"suspend": True}, record())
    ending = plan(resource, seeing(run()), NOW)
    resumed = plan(then(resource, ending, suspend=False), seeing(replace(run(), stopping=True)), NOW)

    assert (resumed.ensure, said(resumed).reason) == ((), c.STOPPING)


def test_a_run_that_finishes_in_its_grace_period_has_finished() -> None:
    resource = job({"suspend": True}, record(stopping=c.SUSPENDED, message="runPolicy.suspend is true"))
    done = ObservedWorkload(
        "support-bot-a1", "Succeeded", progress=ProgressDocument(state="Succeeded", result=TrainResult(model=MODEL))
    )
    assert plan(resource, seeing(done), NOW).status.phase == "Succeeded"


# Deadlines


def test_the_deadline_ends_the_attempt_and_the_job() -> None:
    resource = job({"activeDeadlineSeconds": 3600}, record())
    running = plan(resource, seeing(run()), after(minutes=59))
    assert running.requeue_after == timedelta(minutes=1)

    over = plan(then(resource, running), seeing(run()), after(minutes=60))
    assert over.stop == ("support-bot-a1",)
    assert over.status.phase == "Running"

    failed = plan(then(resource, over), Observed(), after(minutes=60, seconds=5))
    assert failed.status.phase == "Failed"
    assert said(failed, c.FAILED).reason == c.DEADLINE_EXCEEDED
    assert said(failed, c.FAILED).message == (
        "activeDeadlineSeconds are 3600, and 3605 s have passed since the first attempt started (1 attempt, step 40 of "
        "100); checkpoints are kept"
    )


def test_waiting_between_attempts_counts_and_suspension_does_not() -> None:
    resource = job({"activeDeadlineSeconds": 60, "suspend": True}, record())
    paused = plan(then(resource, plan(resource, seeing(run()), NOW)), Observed(), after(seconds=30))
    assert paused.status.phase == "Suspended"

    resumed = plan(then(resource, paused, suspend=False), Observed(), after(hours=9))
    assert [each.name for each in resumed.ensure] == ["support-bot-a2"]
    assert resumed.requeue_after == timedelta(seconds=30)

    crashed = ObservedWorkload("support-bot-a2", "Failed", ended_at=after(hours=9, seconds=25))
    waiting = plan(then(resource, resumed, suspend=False), seeing(crashed), after(hours=9, seconds=25))
    assert (waiting.status.phase, waiting.requeue_after) == ("Recovering", timedelta(seconds=5))
    late = plan(then(resource, waiting, suspend=False), seeing(crashed), after(hours=9, seconds=30))
    assert late.status.phase == "Failed"


def test_an_evaluation_has_a_deadline_too() -> None:
    spec: dict[str, Any] = {"target": {"uri": "pvc://models/x"}, "runPolicy": {"activeDeadlineSeconds": 60}}
    attempt = AttemptRecord(number=1, workload="support-bot-eval-e1", started_at=NOW, running_since=NOW)
    resource = eval_job(status=EvalJobStatus(phase="Running", attempts=(attempt,)), **spec)
    over = plan(resource, seeing(ObservedWorkload("support-bot-eval-e1", "Running")), after(minutes=2))
    assert over.stop == ("support-bot-eval-e1",)
    failed = plan(resource.model_copy(update={"status": over.status}), Observed(), after(minutes=2))
    assert said(failed, c.FAILED).reason == c.DEADLINE_EXCEEDED


# Budgets


def test_an_attempt_may_use_what_is_left_of_the_budget() -> None:
    first = plan(job({"gpuHours": 8}, resources=GPUS, workers=2), Observed(), NOW)
    assert limits_of(first).seconds == 3600

    resource = job({"gpuHours": 8}, record(gpus=8), resources=GPUS, workers=2)
    crashed = replace(run(), state="Failed", ended_at=after(minutes=30))
    failed = plan(resource, seeing(crashed), after(minutes=30))
    assert (status_of(failed).gpu_hours, status_of(failed).attempts[0].gpu_hours) == (4.0, 4.0)
    second = plan(then(resource, failed), seeing(crashed), after(hours=1))
    assert limits_of(second).seconds == 1800


def test_a_partial_model_is_a_success_that_says_so() -> None:
    partial = MODEL.model_copy(update={"partial": True})
    document = ProgressDocument(
        state="Succeeded",
        training=TrainingProgress(step=40, total_steps=100),
        result=TrainResult(model=partial),
    )
    workload = ObservedWorkload("support-bot-a1", "Succeeded", progress=document, ended_at=after(hours=1))
    resource = job({"gpuHours": 4}, record(gpus=4), resources=GPUS)
    result = plan(resource, seeing(workload), after(hours=1))

    assert result.status.phase == "Succeeded"
    assert said(result, c.SUCCEEDED).reason == c.BUDGET_SPENT
    assert said(result, c.SUCCEEDED).message == (
        "the 4 GPU-hours of runPolicy are used up (4) at step 40 of 100; the model so far is published at "
        "pvc://models/support-bot"
    )


@pytest.mark.parametrize("checkpoint", [True, False])
def test_with_nothing_left_the_last_checkpoint_is_published_if_there_is_one(checkpoint: bool) -> None:
    resource = job({"gpuHours": 1}, ended(gpus=4, gpu_hours=1.5), resources=GPUS)
    latest = CheckpointRecord(step=40, uri="pvc://models/x/checkpoint-40")
    known = {"gpu_hours": 1.5, "checkpoints": CheckpointStatus(latest=latest) if checkpoint else None}
    resource = resource.model_copy(update={"status": resource.status.model_copy(update=known)})
    result = plan(resource, Observed(), after(minutes=1))

    if checkpoint:
        assert limits_of(result).seconds == 0
    else:
        assert (result.ensure, result.status.phase) == ((), "Failed")
        assert said(result, c.FAILED).reason == c.BUDGET_SPENT


def test_hours_of_attempts_that_are_no_longer_listed_stay_counted() -> None:
    resource = job({}, *(ended(number, c.SUSPENDED, gpus=4, gpu_hours=1.0) for number in range(1, 21)), resources=GPUS)
    status = resource.status.model_copy(update={"gpu_hours": 25.0})
    result = plan(resource.model_copy(update={"status": status}), Observed(), after(minutes=1))

    assert [each.number for each in status_of(result).attempts] == list(range(2, 22))
    again = plan(then(resource, result), seeing(run(21)), after(minutes=2))
    assert status_of(again).gpu_hours == 25.0


# Retries


@pytest.mark.parametrize(
    ("reason", "avoided"), [(c.ACCELERATOR_FAILED, ("node-b",)), (c.NODE_LOST, ("node-b",)), (c.CRASHED, ())]
)
def test_what_is_the_nodes_fault_is_tried_elsewhere(reason: str, avoided: tuple[str, ...]) -> None:
    failure = RunFailure(reason=reason, message="NCCL: unhandled system error", retryable=True)
    failed = ObservedWorkload(
        "support-bot-a1", "Failed", progress=ProgressDocument(state="Failed", failure=failure), nodes=("node-b",)
    )
    resource = job({}, record())
    second = plan(then(resource, plan(resource, seeing(failed), NOW)), seeing(failed), after(seconds=10))

    assert second.ensure[0].avoid_nodes == avoided
    assert status_of(second).attempts[0].nodes == ("node-b",)


def test_limits_reach_the_run() -> None:
    policy = {"maxFailures": 7, "progressTimeoutSeconds": 120, "gracePeriodSeconds": 90}
    result = plan(job(policy), Observed(), NOW)
    limits = limits_of(result)

    assert (limits.max_failures, limits.progress_timeout_seconds, limits.grace_seconds) == (7, 120, 90)
    assert (limits.seconds, result.ensure[0].grace_seconds) == (None, 90)


def test_an_attempt_that_somebody_deleted_is_followed_by_one_of_another_name() -> None:
    resource = job({}, record())
    gone = plan(resource, Observed(), NOW)
    assert status_of(gone).attempts[0].reason == c.VANISHED
    assert (gone.status.phase, gone.requeue_after) == ("Recovering", timedelta(seconds=10))

    second = plan(then(resource, gone), Observed(), after(seconds=10))
    assert [each.name for each in second.ensure] == ["support-bot-a2"]


def test_an_attempt_that_never_started_is_started_under_its_own_name() -> None:
    resource = job({}, AttemptRecord(number=3, workload="support-bot-a3", started_at=NOW))
    assert [each.name for each in plan(resource, Observed(), NOW).ensure] == ["support-bot-a3"]


def test_what_a_deleted_attempt_had_published_counts() -> None:
    words = ProgressDocument(state="Succeeded", result=TrainResult(model=MODEL))
    result = plan(job({}, record()), seeing(support_bot_a1=words), NOW)
    assert (result.status.phase, status_of(result).output) == ("Succeeded", MODEL)


# Losses on the way


LOSS = Recovery(at=NOW, worker="support-bot-a1-workers-0", reason=c.OUT_OF_MEMORY, step=47)


def test_a_worker_that_is_lost_is_told_and_its_return_too() -> None:
    resource = job({}, record())
    lost = plan(resource, seeing(run(step=47, recoveries=(LOSS,))), NOW)

    assert lost.status.phase == "Recovering"
    assert said(lost).reason == c.RECOVERING
    assert [(each.type, each.reason) for each in lost.events] == [("Warning", c.OUT_OF_MEMORY)]
    assert "support-bot-a1-workers-0 was lost at step 47 (OutOfMemory); the workers go on from the last checkpoint" in (
        lost.events[0].message
    )

    back = LOSS.model_copy(update={"seconds": 31.4, "resumed_from_step": 40})
    found = plan(then(resource, lost), seeing(run(step=48, recoveries=(back,))), NOW)
    assert found.status.phase == "Running"
    assert (
        c.RECOVERED,
        "training goes on 31 s after the loss of support-bot-a1-workers-0; 7 steps of work repeated",
    ) in [(each.reason, each.message) for each in found.events]
    assert (status_of(found).recoveries, status_of(found).attempts[0].recoveries) == ((back,), 1)
    assert plan(then(resource, found), seeing(run(step=48, recoveries=(back,))), NOW).events == ()


def test_another_number_of_workers_is_told_once() -> None:
    resource = job({}, record(), workers=4, minWorkers=2)
    found = plan(resource, seeing(run(step=40, workers=4)), NOW)
    assert c.RESIZED not in [each.reason for each in found.events]

    shrunk = plan(then(resource, found), seeing(run(step=48, workers=2)), NOW)
    assert [(each.reason, each.message) for each in shrunk.events] == [
        (c.RESIZED, "training goes on with 2 of 4 workers")
    ]
    assert status_of(shrunk).workers == 2
    assert plan(then(resource, shrunk), seeing(run(step=49, workers=2)), NOW).events == ()


def test_each_skipped_checkpoint_is_told_once() -> None:
    skipped = (SkippedCheckpoint(uri="pvc://models/x/checkpoint-40", message="model.safetensors is torn"),)
    resource = job({}, record())
    first = plan(resource, seeing(run(skipped=skipped)), NOW)

    assert (c.CHECKPOINT_SKIPPED, "Warning") in [(each.reason, each.type) for each in first.events]
    assert plan(then(resource, first), seeing(run(skipped=skipped)), NOW).events == ()


# Silence


def test_a_run_that_says_nothing_for_twice_its_timeout_is_ended() -> None:
    resource = job({"progressTimeoutSeconds": 60}, record())
    heard = plan(resource, seeing(run()), NOW)
    assert heard.requeue_after == timedelta(seconds=60)
    silent = plan(then(resource, heard), seeing(run()), after(seconds=60))
    assert silent.stop == ()
    hung = plan(then(resource, silent), seeing(run()), after(seconds=120))
    assert hung.stop == ("support-bot-a1",)

    gone = plan(then(resource, hung), Observed(), after(seconds=150))
    attempt = status_of(gone).attempts[0]
    assert (attempt.reason, attempt.message) == (
        c.HUNG, "it has reported nothing for 120 s, twice progressTimeoutSeconds",
    )  # fmt: skip
    assert gone.status.phase == "Recovering"


def test_a_clock_that_leaps_does_not_make_a_run_hung() -> None:
    resource = job({"progressTimeoutSeconds": 60}, record())
    heard = plan(resource, seeing(run()), NOW)
    leapt = plan(then(resource, heard), seeing(run()), after(days=365))
    assert leapt.stop == ()
    back = plan(then(resource, leapt), seeing(run()), NOW)
    assert (back.stop, back.requeue_after) == ((), timedelta(seconds=60))


def test_a_run_that_is_not_between_two_steps_may_take_its_time() -> None:
    resource = job({"progressTimeoutSeconds": 60}, record())
    for step in (0, 100):
        result = plan(resource, seeing(run(step=step)), NOW)
        assert (status_of(result).watch, result.requeue_after) == (None, None)


# The end of the resource


def test_what_has_ended_is_deleted_in_time() -> None:
    resource = job({"ttlSecondsAfterFinished": 600}, record())
    done = ObservedWorkload(
        "support-bot-a1", "Succeeded", progress=ProgressDocument(state="Succeeded", result=TrainResult(model=MODEL))
    )
    finished = then(resource, plan(resource, seeing(done), NOW))
    early: Plan[Any] = plan(finished, seeing(done), after(seconds=599))
    assert (early.delete, early.requeue_after) == (False, timedelta(seconds=1))
    due = plan(finished, seeing(done), after(seconds=600))
    assert (due.delete, due.status) == (True, finished.status)


def test_an_end_in_the_future_is_not_waited_for() -> None:
    told = Condition(type=c.FAILED, status="True", reason=c.CRASHED, message="", last_transition_time=after(days=999))
    resource = fine_tune_job(
        status=FineTuneJobStatus(phase="Failed", conditions=(told,)), runPolicy={"ttlSecondsAfterFinished": 60}
    )
    first = plan(resource, Observed(), NOW)
    assert not first.delete
    assert plan(then(resource, first), Observed(), after(seconds=60)).delete


# A status that somebody has edited


def test_a_lost_status_is_found_again_in_what_runs() -> None:
    crashed = ObservedWorkload("support-bot-a1", "Failed", message="exit code 1", ended_at=NOW)
    result = plan(job(), seeing(crashed, run(2)), NOW)

    assert (result.ensure, result.stop) == ((), ())
    assert [(each.number, each.reason) for each in status_of(result).attempts] == [(1, c.CRASHED), (2, None)]
    assert result.status.phase == "Running"


def test_a_lost_status_of_a_job_that_has_ended_does_not_start_it_again() -> None:
    words = ProgressDocument(state="Succeeded", result=TrainResult(model=MODEL))
    assert plan(job(), seeing(support_bot_a2=words), NOW).status.phase == "Succeeded"
    told = Condition(type=c.SUCCEEDED, status="True", reason=c.COMPLETED, message="", last_transition_time=NOW)
    latched = fine_tune_job(status=FineTuneJobStatus(phase="Pending", conditions=(told,)))
    assert (plan(latched, Observed(), NOW).ensure, plan(latched, Observed(), NOW).status.phase) == ((), "Succeeded")


def test_two_that_run_become_one_before_anything_starts() -> None:
    resource = job({}, ended(1), record(2))
    both = plan(resource, seeing(run(1), run(2)), NOW)
    assert (both.stop, both.ensure, both.status.phase) == (("support-bot-a1",), (), "Running")

    alone = job({}, ended(1, c.SUSPENDED))
    waiting = plan(alone, seeing(run(1)), NOW)
    assert (waiting.stop, waiting.ensure) == (("support-bot-a1",), ())
    assert said(waiting).message == "waits until support-bot-a1 has ended: two attempts never run at once"


def test_an_attempt_that_was_taken_for_ended_and_runs_goes_on() -> None:
    result = plan(job({}, ended(1, c.VANISHED)), seeing(run(1)), NOW)
    (attempt,) = status_of(result).attempts
    assert (attempt.ended_at, result.stop, result.status.phase) == (None, (), "Running")


def test_records_out_of_order_and_twice_the_same_are_put_right() -> None:
    records = (ended(3), ended(1), ended(1, c.OUT_OF_MEMORY), ended(2, c.SUSPENDED))
    result = plan(job({"maxAttempts": 9}, *records), Observed(), after(minutes=1))
    assert [each.number for each in status_of(result).attempts] == [1, 2, 3, 4]


def test_an_end_in_the_future_delays_the_next_attempt_by_its_backoff_only() -> None:
    resource = job({}, record(ended_at=after(days=999), reason=c.CRASHED))
    waiting = plan(resource, Observed(), NOW)
    assert waiting.requeue_after == timedelta(seconds=10)
    second = plan(then(resource, waiting), Observed(), after(seconds=10))
    assert [each.name for each in second.ensure] == ["support-bot-a2"]


def test_numbers_that_were_used_are_not_used_again() -> None:
    status = FineTuneJobStatus(phase="Running", attempt=4)
    result = plan(fine_tune_job(status=status), Observed(), NOW)
    assert [each.name for each in result.ensure] == ["support-bot-a5"]


def test_a_verdict_that_is_lost_is_found_again() -> None:
    spec: dict[str, Any] = {"target": {"uri": "pvc://models/x"}}
    attempt = AttemptRecord(number=1, workload="support-bot-eval-e1", started_at=NOW, ended_at=NOW, reason=c.COMPLETED)
    resource: EvalJob = eval_job(status=EvalJobStatus(phase="Running", attempts=(attempt,)), **spec)
    assert [each.name for each in plan(resource, Observed(), NOW).ensure] == ["support-bot-eval-e2"]

    result = EvaluateResult(results=(), target=Subject(uri=MODEL.uri), report="pvc://reports/x")
    words = ProgressDocument(state="Succeeded", result=result)
    assert plan(resource, seeing(support_bot_eval_e1=words), NOW).status.phase == "Succeeded"
