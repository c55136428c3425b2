"""Crashes are tried again: a shell in this process, with a clock that runs ahead."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders import fine_tune_job, model_serve
from tests.local.home import RUNTIME, Home, free_port, is_gone, until
from tunesmith_api.contract import ProgressDocument, TrainResult
from tunesmith_api.finetunejob import PublishedModel
from tunesmith_api.resources import Resource
from tunesmith_operator.local.display import LineDisplay
from tunesmith_operator.local.proc import described_exit
from tunesmith_operator.local.processes import Processes, ended_workload, restart_delay
from tunesmith_operator.local.runs import EndRecord, Run
from tunesmith_operator.local.shell import Afterwards, Interruptions, Shell, key_of
from tunesmith_operator.local.state import State
from tunesmith_operator.planner import Observed, plan

PORT = free_port()
JOB = fine_tune_job("bot")
SERVE = model_serve("bot", model={"uri": "pvc://models/base"}, port=PORT)


class FastClock:
    """Each look at the processes is two seconds later than the one before."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def wait(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=2)
        time.sleep(0.02)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TUNESMITH_RUNTIME", RUNTIME)
    return Home(tmp_path, PORT)


@contextmanager
def shell_for(here: Home, resource: Resource, screen: io.StringIO) -> Iterator[tuple[Shell, Processes]]:
    clock = FastClock()
    state = State(here.folder / ".tunesmith")
    state.apply([resource], clock.now())
    processes = Processes(state, clock.now)
    processes.recover()
    with Interruptions() as interruptions:
        yield (
            Shell(
                state,
                processes,
                LineDisplay(screen, clock.now),
                [key_of(resource)],
                clock.now,
                interruptions,
                clock.wait,
            ),
            processes,
        )


def run(here: Home, resource: Resource) -> tuple[int, str, Resource]:
    screen = io.StringIO()
    with shell_for(here, resource, screen) as (shell, _):
        code = shell.run(Afterwards(until_ready=True))
        return code, screen.getvalue(), shell.resources()[0]


def test_a_crash_is_tried_again_after_a_delay(here: Home) -> None:
    here.control(bot={"crashes": 1})

    code, said, job = run(here, JOB)

    assert code == 0
    assert "Retrying: attempt 1 failed: ended with exit code 3: Traceback: boom; the next one starts at" in said
    assert [each.reason for each in getattr(job.status, "attempts", ())] == ["Crashed", "Completed"]


def test_after_the_last_attempt_it_has_failed(here: Home) -> None:
    here.control(bot={"crashes": 9})

    code, said, job = run(here, fine_tune_job("bot", runPolicy={"maxAttempts": 2}))

    assert code == 1
    assert "Crashed: ended with exit code 3: Traceback: boom (attempt 2 of 2)" in said
    assert job.status.phase == "Failed"


def test_a_server_that_crashes_is_started_again_until_that_is_hopeless(here: Home) -> None:
    here.control(bot={"crashes": 99})

    code, said, serve = run(here, SERVE)

    assert code == 1
    assert here.log("bot-v1").count("Traceback: boom") == 6
    assert "revision 1 does not answer yet: ended with exit code 3: Traceback: boom; it starts again at" in said
    assert serve.status.phase == "Progressing"


def test_a_server_that_cannot_run_is_not_started_again(here: Home) -> None:
    failure = {"reason": "ModelInvalid", "message": "pvc://models/base: no such folder", "retryable": False}
    here.control(bot={"failure": failure})

    code, said, serve = run(here, SERVE)

    assert code == 1
    assert here.log("bot-v1").count("attempt 1") == 1
    assert "ModelInvalid: pvc://models/base: no such folder" in said
    assert serve.status.phase == "Failed"


def test_garbage_in_the_progress_document_is_no_progress(here: Home) -> None:
    with shell_for(here, JOB, io.StringIO()) as (shell, processes):
        assert shell.run(Afterwards()) == 0
        (job,) = shell.resources()
        state = State(here.folder / ".tunesmith")
        run_ = Run(state.run_folder("default", "bot-a1"))
        for garbage in ("", '{"version": 1, "sta', "[]", '{"training": {"step": "many"}}', "\x00"):
            run_.progress_file.write_text(garbage)
            assert processes.observed(job)["bot-a1"].progress is None


def test_a_process_that_an_earlier_shell_left_is_stopped_first(here: Home) -> None:
    here.control(bot={"holdAt": 1})
    clock, state = FastClock(), State(here.folder / ".tunesmith")
    state.apply([JOB], clock.now())
    (job,) = state.resources()
    (workload,) = plan(job, Observed(), clock.now()).ensure
    earlier, later = Processes(state, clock.now), Processes(state, clock.now)
    assert earlier.ensure(workload)
    until(lambda: "holding" in here.log("bot-a1"))

    later.recover()

    assert is_gone(here.pid_of("bot-a1"))
    assert later.observed(job)["bot-a1"].state == "Interrupted"
    assert not later.ensure(workload)
    earlier.stop_all()


RESULT = ProgressDocument(result=TrainResult(model=PublishedModel(uri="pvc://models/bot")))


@pytest.mark.parametrize(
    ("exit_code", "stopped", "progress", "state"),
    [
        (0, False, RESULT, "Succeeded"),
        (0, False, None, "Failed"),
        (0, True, RESULT, "Succeeded"),
        (-15, True, None, "Interrupted"),
        (None, False, RESULT, "Succeeded"),
        (None, False, None, "Interrupted"),
        (-9, False, None, "Failed"),
        (1, False, RESULT, "Failed"),
    ],
)
def test_how_a_process_ended_decides_what_is_seen(
    exit_code: int | None, stopped: bool, progress: ProgressDocument | None, state: str
) -> None:
    end = EndRecord(ended_at=datetime.now(UTC), exit_code=exit_code, stopped=stopped)
    assert ended_workload("bot-a1", end, progress).state == state


def test_an_exit_is_told_in_words() -> None:
    assert described_exit(3) == "ended with exit code 3"
    assert described_exit(-9) == "killed by SIGKILL; the machine may be out of memory"
    assert described_exit(-11) == "killed by SIGSEGV"


def test_servers_wait_longer_after_each_crash() -> None:
    assert [restart_delay(crashes).total_seconds() for crashes in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
