"""A pod whose first process is Ray's is told to end: training may save a checkpoint before."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runtime.test_worker import SERVING, TRAINING
from tunesmith_api.contract import TrainRun, run_config
from tunesmith_runtime.__main__ import main
from tunesmith_runtime.train import leaving
from tunesmith_runtime.train.recovery.pod import PodFiles

RUN = {**TRAINING, "limits": {"graceSeconds": 4.0}}
# Stands for the driver: it takes a moment to end.
DRIVER = """
import signal, sys, time
def end(number, frame):
    time.sleep(0.3)
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""


def stand_in(folder: Path) -> None:
    """Make a package of the runtime's name, for Python to find in this folder."""
    package = folder / "tunesmith_runtime"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(DRIVER)


def leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]) -> float:
    """Return how long it took."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("TUNESMITH_CONFIG", str(tmp_path / "config.json"))
    began = time.monotonic()
    assert main(["leave"]) == 0
    return time.monotonic() - began


def pod() -> PodFiles:
    config = run_config.validate_json(json.dumps(RUN))
    assert isinstance(config, TrainRun)
    files = PodFiles.of(config.run)
    files.clear()
    return files


def test_the_driver_is_told_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path)
    command = [sys.executable, "-m", "tunesmith_runtime"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()
        files = pod()
        monkeypatch.setattr("tunesmith_runtime.train.leaving._drivers", lambda: iter([driver.pid]))
        took = leave(tmp_path, monkeypatch, RUN)
        assert driver.wait(5) == 143
    assert 0.2 < took < 3
    assert not files.is_ending(), "the driver tells its workers itself"


def test_workers_without_a_driver_are_told_and_waited_for_as_long_as_there_is_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_runtime.train.leaving._drivers", lambda: iter(()))
    files = pod()
    files.begin_training()
    assert 0.8 < leave(tmp_path, monkeypatch, RUN) < 3
    assert files.is_ending()

    files.end_training()
    assert leave(tmp_path, monkeypatch, RUN) < 0.5
    files.clear()


def test_a_run_that_trains_nothing_has_nothing_to_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert leave(tmp_path, monkeypatch, SERVING) < 0.5


def test_only_drivers_are_found(tmp_path: Path) -> None:
    stand_in(tmp_path)
    with (
        subprocess.Popen([sys.executable, "-m", "tunesmith_runtime"], cwd=tmp_path, stdout=subprocess.PIPE) as driver,
        subprocess.Popen(
            [sys.executable, "-m", "tunesmith_runtime", "leave"], cwd=tmp_path, stdout=subprocess.PIPE
        ) as other,
    ):
        for each in (driver, other):
            assert each.stdout is not None
            each.stdout.readline()
        found = set(leaving._drivers())
        for each in (driver, other):
            os.kill(each.pid, signal.SIGTERM)
    assert driver.pid in found
    assert other.pid not in found
    assert os.getpid() not in found
