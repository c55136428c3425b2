"""A run that hangs ends with its stacks in the log; one that works, however long it takes, does not."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tunesmith_api.contract import ProgressDocument, RunIdentity
from tunesmith_api.finetunejob import TrainingProgress
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.recovery import hanging, life, stacks
from tunesmith_runtime.train.recovery.hanging import HangWatch, HungError
from tunesmith_runtime.train.recovery.life import CPU_SECONDS, Life
from tunesmith_runtime.train.recovery.pod import PodFiles

RUN = RunIdentity(kind="FineTuneJob", namespace="default", name="bot", uid="u", attempt=1)

# A process that is watched, with a timeout of half a second, while it is `doing` something.
PROGRAM = """
import ctypes, hashlib, os, sys
from pathlib import Path
from tunesmith_api.contract import RunIdentity
from tunesmith_runtime import process
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.recovery import hanging, life, stacks
from tunesmith_runtime.train.recovery.pod import PodFiles

hanging.END_SECONDS = stacks.LATER_SECONDS = 0.5
run = RunIdentity(kind="FineTuneJob", namespace="default", name="bot", uid="u", attempt=1)
pod = PodFiles.of(run)
pod.clear()
process.before_end(lambda: print("reported", flush=True))
with hanging.HangWatch(0.5, ProgressReporter(Path(sys.argv[1])), pod).watching():
    life.go_by_steps(steps=True)
    {doing}
"""


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PodFiles:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = PodFiles.of(RUN)
    found.clear()
    return found


@pytest.fixture
def reporter(tmp_path: Path) -> ProgressReporter:
    return ProgressReporter(tmp_path / "progress.json")


def ended(doing: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], ProgressDocument]:
    """Return how a process ends that hangs in `doing`."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-c", PROGRAM.format(doing=doing), str(folder / "progress.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done, ProgressReporter(folder / "progress.json").read()


def test_a_hang_ends_the_attempt_with_its_stacks(
    pod: PodFiles, reporter: ProgressReporter, capfd: pytest.CaptureFixture[str]
) -> None:
    reporter.update(stage="training", training=TrainingProgress(step=12, total_steps=100))
    with pytest.raises(HungError) as raised, HangWatch(0.3, reporter, pod).watching():
        time.sleep(30)

    assert raised.value.retryable
    assert raised.value.message == "no optimizer step for 0 s after step 12; the log has the stacks of all workers"
    failure = reporter.read().failure
    assert failure is not None
    assert (failure.reason, failure.retryable) == ("Hung", True)
    assert "in test_a_hang_ends_the_attempt_with_its_stacks" in capfd.readouterr().err


def test_before_training_it_says_where_it_stood_still(pod: PodFiles, reporter: ProgressReporter) -> None:
    reporter.update(stage="reading the data")
    with (
        pytest.raises(HungError, match="nothing has moved for 0 s while reading the data"),
        HangWatch(0.3, reporter, pod).watching(),
    ):
        time.sleep(30)


def test_steps_keep_it_alive_and_the_progress_says_so(pod: PodFiles, reporter: ProgressReporter) -> None:
    with HangWatch(2.0, reporter, pod).watching():
        life.go_by_steps(steps=True)
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            life.beat()
            time.sleep(0.05)
    assert reporter.read().updated_at is not None


def test_a_worker_of_ray_is_watched_in_place_of_the_driver(
    pod: PodFiles, reporter: ProgressReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver waits, and only the signs of the first worker count; others are asked for their stacks."""
    monkeypatch.setattr(hanging, "STACKS_SECONDS", 0.1)
    asked: list[bool] = []

    def drive() -> None:
        until = time.monotonic() + 1.5
        while True:
            life.beat()
            if time.monotonic() < until:
                pod.beat()
            time.sleep(0.05)

    began = time.monotonic()
    watch = HangWatch(1.0, reporter, pod)
    with pytest.raises(HungError), watch.watching(), watch.of_workers(lambda: asked.append(pod.wants_stacks())):
        drive()
    assert time.monotonic() - began > 2
    assert asked == [True]


def test_a_worker_of_ray_writes_its_stacks_when_it_is_asked(pod: PodFiles, capfd: pytest.CaptureFixture[str]) -> None:
    with stacks.answering(pod, None, first=True):
        assert pod.last_beat() is not None
        pod.ask_for_stacks()
        deadline = time.monotonic() + 20
        while "Thread 0x" not in (said := capfd.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "asked for: stacks of " in said
        assert "in test_a_worker_of_ray_writes_its_stacks_when_it_is_asked" in said
        os.kill(os.getpid(), stacks.SIGNAL)
        assert "in test_a_worker_of_ray_writes_its_stacks_when_it_is_asked" in capfd.readouterr().err


def test_a_main_thread_that_does_not_come_back_is_ended_with_all_that_is_to_be_said(tmp_path: Path) -> None:
    done, document = ended("hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)", tmp_path)
    assert (done.returncode, done.stdout) == (1, "reported\n")
    assert document.failure is not None
    assert (document.state, document.failure.reason) == ("Failed", "Hung")
    assert "most recent call first" in done.stderr


def test_native_code_that_keeps_python_from_running_is_ended_as_well(tmp_path: Path) -> None:
    """Nothing can be reported then: the stacks and the exit code say it."""
    done, document = ended("stacks.wind_up(1, ends=True); ctypes.PyDLL(None).sleep(30)", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert 'File "<string>"' in done.stderr
    assert document.failure is None


def test_where_no_step_can_come_work_of_any_kind_is_a_sign(tmp_path: Path) -> None:
    told: list[bool] = []
    sign = Life(lambda: told.append(True))

    def signs() -> int:
        sign.look()
        found, told[:] = len(told), []
        return found

    assert signs() == 0
    until = time.process_time() + CPU_SECONDS + 0.05
    while time.process_time() < until:
        pass
    assert signs() == 1
    (tmp_path / "data").write_bytes(bytes(2 << 20))
    assert signs() == 1
    time.sleep(0.05)
    assert signs() == 0

    sign.go_by(steps=True)
    told.clear()
    (tmp_path / "data").read_bytes()
    assert signs() == 0
    with sign.working():
        told.clear()
        (tmp_path / "data").read_bytes()
        assert signs() == 1


def test_a_process_that_was_started_works_for_the_one_that_waits(tmp_path: Path) -> None:
    told: list[bool] = []
    sign = Life(lambda: told.append(True))
    program = "import sys; data = open('/dev/zero', 'rb').read(4 << 20); print('done', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        sign.look()
        started.communicate()
    assert told == [True]


class TestPodFiles:
    def test_a_pod_ends_at_once_when_nobody_trains(self, pod: PodFiles) -> None:
        assert not pod.ask_to_end()
        assert pod.is_ending()

    def test_a_pod_waits_for_a_worker_that_trains(self, pod: PodFiles) -> None:
        pod.begin_training()
        assert pod.ask_to_end()
        pod.end_training()
        assert not pod.trains()

    def test_a_worker_that_was_killed_is_not_waited_for(self, pod: PodFiles) -> None:
        (pod.folder / "training-99999999").touch()
        assert not pod.ask_to_end()

    def test_what_was_said_before_the_pod_began_anew_is_forgotten(self, pod: PodFiles) -> None:
        pod.ask_to_end()
        pod.clear()
        assert not pod.is_ending()

    def test_pods_of_one_machine_do_not_hear_each_other(self, pod: PodFiles, monkeypatch: pytest.MonkeyPatch) -> None:
        pod.ask_to_end()
        monkeypatch.setenv("POD_NAME", "another")
        assert not PodFiles.of(RUN).is_ending()
