"""Runs that end before they are done: told to by SIGTERM, or because their time is over; and runs that hang."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.local.home import until
from tests.local.pods import Pods
from tests.tiny import make_tiny_model
from tunesmith_api.contract import ProgressDocument, TrainRun
from tunesmith_runtime.models.lineage import model_digest
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import telemetry
from tunesmith_runtime.train.checkpoints import store
from tunesmith_runtime.train.recovery import hanging
from tunesmith_runtime.train.recovery.attempt import NothingLearntError
from tunesmith_runtime.train.recovery.hanging import HungError
from tunesmith_runtime.train.running import run

DEADLINE_SECONDS = 900
TEXTS = [f"Item {number} has the code {number * 7}." for number in range(16)]


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    make_tiny_model(tmp_path / "models" / "base", TEXTS, hidden_size=32)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return tmp_path


def config_of(attempt: int, **changes: Any) -> dict[str, Any]:
    return {
        "type": "train",
        "run": {"kind": "FineTuneJob", "namespace": "default", "name": "bot", "uid": "u", "attempt": attempt},
        "model": "pvc://models/base",
        "data": {"train": [{"name": "items", "uri": "pvc://data/train.jsonl", "format": "text"}], "maxLength": 64},
        "method": {"type": "pt", "adapter": {"type": "full"}},
        "training": {"maxSteps": 100_000, **changes.pop("training", {})},
        "checkpoints": {"uri": "pvc://models/bot-checkpoints", "everySteps": 1000, "keep": 2},
        "output": {"uri": "pvc://models/bot"},
        **changes,
    }


def parsed(config: dict[str, Any]) -> TrainRun:
    return TrainRun.model_validate_json(json.dumps(config))


def last_step(document: ProgressDocument) -> int:
    assert document.training is not None
    return document.training.step


def test_sigterm_saves_a_checkpoint_and_the_end_of_its_time_publishes_what_was_learnt(volumes: Path) -> None:
    pods = Pods(volumes, config_of(1), apart=False)
    with pods.head() as head:
        until(lambda: pods.progress().training is not None or head.poll() is not None, DEADLINE_SECONDS)
        head.terminate()
        assert head.wait(40) == 143, pods.logs()
    document = pods.progress()
    assert (document.state, document.failure) == ("Running", None)
    assert document.checkpoint is not None
    saved = document.checkpoint.step
    assert saved % 1000, "between two of the checkpoints that it takes anyway"
    checkpoints = volumes / "models" / "bot-checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir() if path.is_dir()) == [f"checkpoint-{saved}"]

    limits = {"seconds": 3.0}
    reporter = ProgressReporter(volumes / "second.json")
    result = run(parsed(config_of(2, limits=limits)), reporter)
    document = reporter.read()
    assert document.resumed_from_step == saved
    assert result.model.partial
    lineage = json.loads((volumes / "models" / "bot" / "lineage.json").read_text())
    step = lineage["partial"]["step"]
    assert saved <= step < 100_000
    assert lineage["partial"]["totalSteps"] == 100_000
    card = (volumes / "models" / "bot" / "README.md").read_text()
    assert f"It is partial: training ended at step {step} of 100000, because its time was used up." in card
    latest = store("pvc://models/bot-checkpoints").latest(_fingerprint(checkpoints, saved))
    assert latest is not None
    assert latest.step == step, "what is published is a checkpoint as well"

    again = run(parsed(config_of(3, limits={"seconds": 0.0})), ProgressReporter(volumes / "third.json"))
    assert (again.model.digest, again.model.partial) == (result.model.digest, True)
    assert again.model.digest == model_digest(volumes / "models" / "bot")


def _fingerprint(checkpoints: Path, step: int) -> str:
    return str(json.loads((checkpoints / f"checkpoint-{step}" / "tunesmith.json").read_text())["fingerprint"])


def test_a_run_whose_time_is_over_before_it_has_learnt_anything_says_so(volumes: Path) -> None:
    with pytest.raises(NothingLearntError, match=r"before its first step, and there is no checkpoint") as raised:
        run(parsed(config_of(1, limits={"seconds": 0.0})), ProgressReporter(volumes / "progress.json"))
    assert (raised.value.reason, raised.value.retryable) == ("BudgetSpent", False)
    assert not (volumes / "models" / "bot").exists()


def test_a_run_that_is_done_in_time_is_not_partial(volumes: Path) -> None:
    config = parsed(config_of(1, training={"maxSteps": 2}))
    whole = run(config, ProgressReporter(volumes / "progress.json"))
    again = run(
        parsed(config_of(2, training={"maxSteps": 2}, limits={"seconds": 0.0})), ProgressReporter(volumes / "2")
    )
    assert (whole.model.partial, again.model.partial) == (False, False)
    assert again.model.digest == whole.model.digest


class Stuck(ProgressReporter):
    """Never comes back from reporting step 3."""

    def update(self, **changes: Any) -> ProgressDocument:
        training = changes.get("training")
        if training is not None and training.step == 3:
            time.sleep(DEADLINE_SECONDS)
        return super().update(**changes)


def test_a_run_that_hangs_between_two_steps_is_ended(
    volumes: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(telemetry, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(hanging, "END_SECONDS", 60.0)
    with pytest.raises(HungError, match=r"no optimizer step for \d+ s after step 2"):
        run(parsed(config_of(1, limits={"progressTimeoutSeconds": 5})), Stuck(volumes / "progress.json"))
    failure = ProgressReporter(volumes / "progress.json").read().failure
    assert failure is not None
    assert (failure.reason, failure.retryable) == ("Hung", True)
    assert "in update" in capfd.readouterr().err
