"""What the process of a run owes its surroundings."""

import getpass
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunesmith_api.contract import TERMINATION_LOG_VARIABLE
from tunesmith_runtime import process

# A process that SIGTERM meets in the middle of something.
PROGRAM = """
import hashlib, sys, time
from tunesmith_runtime import process

def hash():
    print("up", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**9)

def sleep():
    print("up", flush=True)
    time.sleep(60)

def finish(seconds):
    asked = []
    with process.finishing(lambda: asked.append(1) or True, 20):
        print("up", flush=True)
        while not asked: time.sleep(0.05)
        time.sleep(seconds)
        print("finished", flush=True)

def main():
    {doing}

process.run(main)
"""


def ended_after_sigterm(doing: str) -> tuple[int, str, float]:
    """Return how a process that is `doing` something ends: its exit code, what it printed, and the seconds it took."""
    program = PROGRAM.format(doing=doing.replace("\n", "\n    "))
    started = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    with started.stdout:
        assert started.stdout.readline() == "up\n"
        began = time.monotonic()
        started.send_signal(signal.SIGTERM)
        printed = started.stdout.read()
    return started.wait(), printed, time.monotonic() - began


def test_sigterm_ends_the_process_after_it_has_cleaned_up() -> None:
    code, printed, _ = ended_after_sigterm("try: sleep()\nfinally: print('clean')")
    assert (code, printed) == (143, "clean\n")


def test_a_library_that_makes_something_else_of_sigterm_changes_nothing() -> None:
    assert ended_after_sigterm("try: sleep()\nexcept SystemExit: sys.exit(1)")[0] == 143
    assert ended_after_sigterm("try: sleep()\nexcept SystemExit: return 1")[0] == 143


def test_sigterm_ends_a_process_that_is_in_native_code_or_cannot_finish() -> None:
    for doing in ("hash()", "try: sleep()\nfinally: time.sleep(60)"):
        code, _, seconds = ended_after_sigterm(doing)
        assert code == 143
        assert seconds < process.GRACE_SECONDS + 5


def test_what_can_be_finished_is_finished_first() -> None:
    code, printed, _ = ended_after_sigterm("try: finish(0.5)\nfinally: print('clean')")
    assert (code, printed) == (143, "finished\nclean\n")


def test_what_takes_longer_than_the_grace_is_ended() -> None:
    doing = "process.GRACE_SECONDS, process.MARGIN_SECONDS = 18, 1\ntry: finish(60)\nfinally: print('clean')"
    code, printed, seconds = ended_after_sigterm(doing)
    assert (code, printed) == (143, "clean\n")
    assert seconds < 20


def test_a_second_sigterm_waits_for_nothing() -> None:
    program = PROGRAM.format(doing="try: finish(60)\n    finally: print('clean')")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "up\n"
        started.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert started.poll() is None
        started.send_signal(signal.SIGTERM)
        assert started.stdout.read() == "clean\n"
    assert started.returncode == 143


def test_where_there_is_nothing_to_finish_the_process_ends_at_once() -> None:
    code, printed, seconds = ended_after_sigterm("with process.finishing(lambda: False, 60): sleep()")
    assert (code, printed) == (143, "")
    assert seconds < 20


def test_a_user_that_the_machine_does_not_know_gets_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("USER", "x")  # so that it is taken back after the test
    monkeypatch.setenv("LOGNAME", "x")
    monkeypatch.delenv("USER")
    monkeypatch.delenv("LOGNAME")
    process.name_user()
    assert getpass.getuser() == "tunesmith"


def test_the_last_words_fit_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(tmp_path / "log"))
    process.leave_last_words("The disk is full. " * 1000)
    assert (tmp_path / "log").read_text().startswith("The disk is full. ")
    assert (tmp_path / "log").stat().st_size == process.TERMINATION_LOG_CHARACTERS


def test_last_words_that_nobody_can_take_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(tmp_path / "none" / "log"))
    process.leave_last_words("The disk is full.")
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_a_container_counts_the_cpus_it_may_use(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert process.cpus(tmp_path) == (expected or len(os.sched_getaffinity(0)))
