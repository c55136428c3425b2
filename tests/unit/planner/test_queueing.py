"""A job with a queue says whether it waits there."""

from datetime import UTC, datetime, timedelta

from tests.builders import fine_tune_job
from tunesmith_api import conditions as c
from tunesmith_api.meta import Condition
from tunesmith_api.resources import FineTuneJob
from tunesmith_operator.planner import Observed, ObservedWorkload, plan
from tunesmith_operator.planner.situation import find

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
WAITS = ObservedWorkload("support-bot-a1", "Pending", "it waits in queue research: no quota", reason=c.WAITING_IN_QUEUE)
RUNS = ObservedWorkload("support-bot-a1", "Running")


def after(job: FineTuneJob, *seen: ObservedWorkload) -> FineTuneJob:
    """Return the job as it is after it was planned once, and then with each of these in the cluster."""
    job = job.model_copy(update={"status": plan(job, Observed(), NOW).status})
    for number, workload in enumerate(seen, 1):
        decision = plan(job, Observed({workload.name: workload}), NOW + timedelta(minutes=number))
        job = job.model_copy(update={"status": decision.status})
    return job


def queued(job: FineTuneJob) -> Condition | None:
    return find(job.status.conditions, c.QUEUED)


def test_it_waits_in_the_queue_s_own_words() -> None:
    told = queued(after(fine_tune_job(queue={"name": "research"}), WAITS))
    assert told is not None
    assert (told.status, told.reason) == ("True", "WaitingInQueue")
    assert "it waits in queue research: no quota" in told.message


def test_it_no_longer_waits_once_it_runs_and_again_when_it_is_sent_back() -> None:
    job = fine_tune_job(queue={"name": "research"})
    for seen, status in (((WAITS, RUNS), "False"), ((WAITS, RUNS, WAITS), "True")):
        told = queued(after(job, *seen))
        assert told is not None
        assert told.status == status


def test_a_job_without_a_queue_says_nothing_of_one() -> None:
    assert queued(after(fine_tune_job(), RUNS)) is None


def test_the_queue_s_words_change_without_an_event_each_time() -> None:
    job = after(fine_tune_job(queue={"name": "research"}), WAITS)
    more = ObservedWorkload(WAITS.name, "Pending", "it waits in queue research: 3 before it", reason=WAITS.reason)
    assert plan(job, Observed({more.name: more}), NOW).events == ()
