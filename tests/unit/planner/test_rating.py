"""An EvalJob that waits for people says where they vote, and how many votes there are."""

from datetime import UTC, datetime, timedelta

from tests.builders import eval_job
from tunesmith_api import conditions as c
from tunesmith_api.contract import EvaluateResult, ProgressDocument, RatingProgress
from tunesmith_api.evaljob import EvalJobStatus, MetricResult, Subject
from tunesmith_api.finetunejob import AttemptRecord
from tunesmith_api.resources import EvalJob
from tunesmith_operator.planner import Observed, ObservedWorkload
from tunesmith_operator.planner.evaljob import plan
from tunesmith_operator.planner.situation import find

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NAME = "support-bot-eval-e1"
URL = f"http://rating-{NAME}.default.svc:8080/?key=k"
WAITS = ProgressDocument(state="Running", rating=RatingProgress(url=URL, votes=12, needed=40))


def job(url: str | None = None, **policy: int) -> EvalJob:
    attempt = AttemptRecord(number=1, workload=NAME, started_at=NOW - timedelta(hours=1))
    status = EvalJobStatus(phase="Running", attempt=1, attempts=(attempt,), rating_url=url)
    people = [{"name": "people", "human": {"uri": "pvc://data/questions.jsonl"}}]
    return eval_job(baseline={"uri": "pvc://models/base"}, suites=people, gates=[], runPolicy=policy, status=status)


def seen(state: str, progress: ProgressDocument) -> Observed:
    return Observed(workloads={NAME: ObservedWorkload(NAME, state, progress=progress)})  # type: ignore[arg-type]


def test_while_it_waits_the_status_names_the_page_and_the_votes() -> None:
    status = plan(job(), seen("Running", WAITS), NOW).status

    assert status.rating_url == URL
    running = find(status.conditions, c.RECONCILING)
    assert running is not None
    assert running.reason == c.RUNNING
    assert running.message == "attempt 1 is evaluating and waits for votes: 12 of 40"


def test_the_page_is_gone_once_there_are_enough_votes() -> None:
    done = plan(job(URL), seen("Running", ProgressDocument(state="Running")), NOW).status
    assert done.rating_url is None

    result = EvaluateResult(
        results=(MetricResult(metric="people/winRate", value=0.75, baseline=0.5, n=40),),
        target=Subject(uri="pvc://models/bot"),
        report="pvc://reports/bot/report.html",
    )
    ended = plan(job(URL), seen("Succeeded", ProgressDocument(state="Succeeded", result=result)), NOW).status
    assert (ended.phase, ended.rating_url) == ("Succeeded", None)


def test_who_waits_too_long_fails_and_the_page_is_gone() -> None:
    overdue = plan(job(URL, activeDeadlineSeconds=600), seen("Running", WAITS), NOW)
    assert overdue.stop == (NAME,)
    assert overdue.status.rating_url is None

    stopped = job(URL, activeDeadlineSeconds=600).model_copy(update={"status": overdue.status})
    failed = plan(stopped, Observed(), NOW).status
    assert failed.phase == "Failed"
    told = find(failed.conditions, c.FAILED)
    assert told is not None
    assert told.reason == c.DEADLINE_EXCEEDED
    assert told.message.endswith("answers and votes are kept")
