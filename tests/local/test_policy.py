"""runPolicy on one machine: suspended, overdue, resumed; a shell in this process, with a clock that runs ahead."""

from pathlib import Path

import pytest

from tests.builders import fine_tune_job
from tests.local.home import RUNTIME, Home, free_port, is_gone
from tests.local.test_retries import run
from tunesmith_api.resources import FineTuneJob, Resource

PORT = free_port()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TUNESMITH_RUNTIME", RUNTIME)
    return Home(tmp_path, PORT)


def reasons(job: Resource) -> list[str | None]:
    assert isinstance(job, FineTuneJob)
    return [each.reason for each in job.status.attempts]


def test_a_suspended_job_says_so_and_runs_when_it_is_not_any_more(here: Home) -> None:
    code, said, job = run(here, fine_tune_job("bot", runPolicy={"suspend": True}))
    assert (code, job.status.phase, reasons(job)) == (1, "Suspended", [])
    assert "finetunejob/bot  Suspended" in said
    assert "runPolicy.suspend is true; when it is false, training begins" in said

    code, _, job = run(here, fine_tune_job("bot"))
    assert (code, reasons(job)) == (0, ["Completed"])


def test_a_deadline_ends_the_run_and_the_job(here: Home) -> None:
    here.control(bot={"holdAt": 1})

    code, said, job = run(here, fine_tune_job("bot", runPolicy={"activeDeadlineSeconds": 120}))

    assert (code, job.status.phase, reasons(job)) == (1, "Failed", ["DeadlineExceeded"])
    assert "stopping bot-a1" in said
    assert "DeadlineExceeded: activeDeadlineSeconds are 120" in said
    assert is_gone(here.pid_of("bot-a1"))


def test_a_run_that_reports_nothing_is_ended_and_tried_again(here: Home) -> None:
    here.control(bot={"holdAt": 1})

    code, said, job = run(here, fine_tune_job("bot", runPolicy={"progressTimeoutSeconds": 30}))

    assert (code, reasons(job)) == (0, ["Hung", "Completed"])
    assert "it has reported nothing for 60 s, twice progressTimeoutSeconds" in said


def test_what_has_ended_is_kept(here: Home) -> None:
    code, _, job = run(here, fine_tune_job("bot", runPolicy={"ttlSecondsAfterFinished": 0}))
    assert (code, job.status.phase) == (0, "Succeeded")
