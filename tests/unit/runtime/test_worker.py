"""`python -m tunesmith_runtime worker`: what keeps a pod from joining a run."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.contract import TERMINATION_LOG_VARIABLE
from tunesmith_runtime.__main__ import main
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.address import HeadAddress

RUN = {"kind": "FineTuneJob", "namespace": "default", "name": "bot", "uid": "u", "attempt": 1}
TRAINING = {
    "type": "train",
    "run": RUN,
    "model": "pvc://models/base",
    "data": {"train": [{"name": "a", "uri": "pvc://data/train.jsonl", "format": "messages"}]},
    "method": {},
    "training": {},
    "checkpoints": {"uri": "pvc://models/checkpoints", "everySteps": 2, "keep": 1},
    "output": {"uri": "pvc://models/bot"},
    "workers": 2,
}
SERVING = {"type": "serve", "run": RUN, "model": "pvc://models/base", "port": 8000}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (SERVING, "a run of type serve has no workers"),
        (TRAINING, "a worker needs $TUNESMITH_RAY_ADDRESS, the address of its run's head"),
    ],
)
def test_a_pod_that_cannot_be_a_worker_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    config: dict[str, Any],
    sentence: str,
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("TUNESMITH_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(tmp_path / "last-words"))
    monkeypatch.delenv("TUNESMITH_RAY_ADDRESS", raising=False)
    assert main(["worker"]) == 1
    assert capsys.readouterr().err == f"error: {sentence}\n"
    assert (tmp_path / "last-words").read_text() == sentence


@pytest.mark.parametrize("address", ["support-bot-a1", ":6379", "support-bot-a1:ray"])
def test_an_address_without_host_or_port_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("TUNESMITH_RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=r"\$TUNESMITH_RAY_ADDRESS is HOST:PORT, not "):
        HeadAddress.from_environment()


def test_a_head_whose_name_nobody_knows_yet_does_not_answer() -> None:
    assert not HeadAddress("support-bot-a1.support-bot-a1-ray.default.svc.invalid", 6379).answers()
