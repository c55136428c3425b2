"""EvalJobs that repeat: their runs are EvalJobs, one at a time, by a schedule or for each checkpoint."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.builders import eval_job, fine_tune_job
from tunesmith_api import conditions as c
from tunesmith_api.contract import EvaluateRun
from tunesmith_api.evaljob import RUN_OF_LABEL, EvalJobStatus, MetricResult, Verdict
from tunesmith_api.finetunejob import CheckpointRecord, CheckpointStatus, FineTuneJobStatus, Phase, PublishedModel
from tunesmith_api.resources import EvalJob, FineTuneJob, Resource, reference
from tunesmith_operator.planner import Observed, Plan, plan
from tunesmith_operator.planner.references import named_by
from tunesmith_operator.planner.situation import find

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOURLY: dict[str, Any] = {"schedule": "0 * * * *"}
EACH: dict[str, Any] = {"target": {"fineTuneJob": "support-bot", "checkpoint": "each"}}


def observing(*resources: Resource) -> Observed:
    return Observed(resources={reference(each): each for each in resources})


def job(created: datetime = NOW, **spec: Any) -> EvalJob:
    built = eval_job(name="nightly", **spec)
    return built.model_copy(update={"metadata": built.metadata.model_copy(update={"creation_timestamp": created})})


def after(job: EvalJob, observed: Observed, now: datetime) -> tuple[EvalJob, Plan[EvalJobStatus]]:
    result = plan(job, observed, now)
    assert isinstance(result.status, EvalJobStatus)
    return job.model_copy(update={"status": result.status}), result


def ended(run: EvalJob, verdict: Verdict | None = "Passed", value: float = 0.5) -> EvalJob:
    status = EvalJobStatus(
        phase="Succeeded" if verdict else "Failed",
        verdict=verdict,
        results=(MetricResult(metric="facts/f1", value=value, n=9),),
        report=f"pvc://reports/{run.metadata.name}/report.html",
    )
    return run.model_copy(update={"status": status})


def training(step: int | None, phase: Phase = "Running") -> FineTuneJob:
    latest = CheckpointRecord(step=step, uri=f"pvc://m/c/checkpoint-{step}") if step is not None else None
    status = FineTuneJobStatus(phase=phase, checkpoints=CheckpointStatus(latest=latest))
    return fine_tune_job(status=status)


def said(result: Plan[EvalJobStatus], kind: str = c.RECONCILING) -> str:
    found = find(result.status.conditions, kind)
    assert found is not None
    return found.message


def test_nothing_runs_before_its_time() -> None:
    _, result = after(job(**HOURLY), Observed(), NOW + timedelta(minutes=10))

    assert (result.create, result.status.phase) == ((), "Pending")
    assert result.status.next_run_at == NOW + timedelta(hours=1)
    assert result.requeue_after == timedelta(minutes=50)
    assert said(result) == "run 1 starts at 2026-11-21 13:00 UTC"
    waiting = {each.type: each.status for each in result.status.conditions}
    assert waiting[c.RECONCILING] == waiting[c.STALLED] == "False", (
        "there is nothing to wait for: kstatus calls it Current"
    )


def test_a_run_is_an_evaljob_of_its_own() -> None:
    nightly, result = after(job(**HOURLY), Observed(), NOW + timedelta(hours=1))

    (run,) = result.create
    assert run.metadata.name == "nightly-r1"
    assert run.metadata.labels == {RUN_OF_LABEL: "nightly"}
    assert run.spec.schedule is None
    assert run.spec.report.uri == "pvc://reports/support-bot-eval/nightly-r1"
    assert run.spec.suites == nightly.spec.suites
    assert result.status.phase == "Running"
    # It is there now: nothing more to do until it ends, and its end wakes this one up.
    _, again = after(nightly, observing(run), NOW + timedelta(hours=2))
    assert (again.create, again.status) == ((), nightly.status)
    assert reference(run) in named_by(nightly)


def test_what_a_run_has_found_is_told_and_the_next_follows() -> None:
    nightly, result = after(job(**HOURLY), Observed(), NOW + timedelta(hours=1))
    (run,) = result.create
    late = NOW + timedelta(hours=3, minutes=20)

    nightly, result = after(nightly, observing(ended(run, "Failed", 0.25)), late)

    status = result.status
    assert (status.verdict, status.results[0].value, status.phase) == ("Failed", 0.25, "Pending")
    assert status.report == "pvc://reports/nightly-r1/report.html"
    (record,) = status.runs
    assert (record.verdict, record.ended_at, record.metrics[0].value) == ("Failed", late, 0.25)
    assert status.next_run_at == NOW + timedelta(hours=4), "those of two and three o'clock were due meanwhile: left out"
    _, following = after(nightly, Observed(), NOW + timedelta(hours=4))
    assert [each.metadata.name for each in following.create] == ["nightly-r2"]


def test_after_a_long_silence_one_run_makes_up_for_all() -> None:
    nightly, result = after(job(**HOURLY), Observed(), NOW + timedelta(hours=7, minutes=5))

    assert len(result.create) == 1
    _, later = after(nightly, observing(ended(result.create[0])), NOW + timedelta(hours=7, minutes=30))
    assert later.status.next_run_at == NOW + timedelta(hours=8)


def test_a_run_that_fails_leaves_no_verdict_standing() -> None:
    nightly, result = after(job(**HOURLY), Observed(), NOW + timedelta(hours=1))
    nightly, result = after(nightly, observing(ended(result.create[0])), NOW + timedelta(hours=1, minutes=5))
    assert result.status.verdict == "Passed"
    nightly, result = after(nightly, Observed(), NOW + timedelta(hours=2))
    _, result = after(nightly, observing(ended(result.create[0], None)), NOW + timedelta(hours=2, minutes=5))

    assert (result.status.verdict, result.status.results) == ("Inconclusive", ())
    assert result.status.problems[0].startswith("run 2 has failed")


def test_runs_beyond_the_limit_go_and_are_remembered() -> None:
    nightly, now = job(historyLimit=1, **HOURLY), NOW
    kept: list[EvalJob] = []
    for _ in range(3):
        now += timedelta(hours=1)
        nightly, result = after(nightly, observing(*kept), now)
        kept = [each for each in kept if each.metadata.name not in result.retire] + [ended(result.create[0])]
        nightly, result = after(nightly, observing(*kept), now + timedelta(minutes=5))
        kept = [each for each in kept if each.metadata.name not in result.retire]
    nightly, result = after(nightly, observing(*kept), now + timedelta(minutes=6))

    assert [each.metadata.name for each in kept] == ["nightly-r3"]
    assert [(run.number, run.name) for run in nightly.status.runs] == [(1, None), (2, None), (3, "nightly-r3")]


def test_another_s_evaljob_of_that_name_is_let_alone() -> None:
    theirs = eval_job(name="nightly-r1")
    _, result = after(job(**HOURLY), observing(theirs), NOW + timedelta(hours=1))

    assert (result.create, result.retire) == ((), ())
    assert "exists and is no run of this one" in said(result, c.STALLED)


def test_a_schedule_may_be_a_word() -> None:
    _, result = after(job(schedule="@daily"), Observed(), NOW)
    assert isinstance(result.status, EvalJobStatus)
    assert result.status.next_run_at is not None
    assert (result.status.next_run_at.hour, result.status.next_run_at.minute) == (0, 0)


def test_what_is_no_schedule_is_told() -> None:
    _, result = after(job(schedule="0 99 * * *"), Observed(), NOW)

    assert "'0 99 * * *' is not a cron expression" in said(result, c.STALLED)


def test_a_name_too_long_for_its_runs_is_told() -> None:
    long = eval_job(name="n" * 46, **HOURLY)

    assert "45 characters" in said(plan(long, Observed(), NOW), c.STALLED)  # type: ignore[arg-type]


def test_each_checkpoint_has_its_run_and_the_last_verdict_stays() -> None:
    nightly, result = after(job(**EACH), observing(training(None)), NOW)
    assert "next checkpoint of FineTuneJob support-bot" in said(result)

    nightly, result = after(nightly, observing(training(10)), NOW)
    (first,) = result.create
    assert first.spec.target.checkpoint == "10"
    # While it runs there come two more, of which the older is left out.
    nightly, result = after(nightly, observing(training(30), first), NOW)
    assert result.create == ()
    nightly, result = after(nightly, observing(training(30), ended(first, "Failed")), NOW)
    (second,) = result.create
    assert second.spec.target.checkpoint == "30"

    nightly, result = after(nightly, observing(training(30, "Succeeded"), ended(second)), NOW)

    assert (result.status.phase, result.status.verdict) == ("Succeeded", "Passed")
    assert [run.checkpoint for run in result.status.runs] == [10, 30]


def test_a_job_without_checkpoints_is_told() -> None:
    _, result = after(job(**EACH), observing(training(None, "Succeeded")), NOW)

    assert "has ended without a checkpoint" in said(result, c.STALLED)


def test_a_run_knows_the_runs_before_it_and_their_answers() -> None:
    nightly, result = after(job(**HOURLY), Observed(), NOW + timedelta(hours=1))
    nightly, _ = after(nightly, observing(ended(result.create[0])), NOW + timedelta(hours=1, minutes=5))
    nightly, result = after(nightly, Observed(), NOW + timedelta(hours=2))
    (run,) = result.create
    model = PublishedModel(uri="pvc://models/support-bot", digest="sha256:aa")
    published = fine_tune_job(status=FineTuneJobStatus(phase="Succeeded", output=model))

    started = plan(run, observing(nightly, published), NOW + timedelta(hours=2))

    config = started.ensure[0].config
    assert isinstance(config, EvaluateRun)
    assert [(each.number, each.verdict) for each in config.earlier] == [(1, "Passed")]
    assert config.answers == "pvc://reports/support-bot-eval-answers"
    assert reference(nightly) in named_by(run)
