"""A search for settings: trials by Ray Tune, some of them ended early by ASHA, and the best one's model published."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.local.home import until
from tests.local.pods import Pods
from tests.tiny import make_tiny_model
from tunesmith_api.tuning import TrialRecord
from tunesmith_runtime.models.loading import load_causal_lm

DEADLINE_SECONDS = 900
STEPS = 32
RATE = "training.learningRate"


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Return a folder with a base model and data."""
    rows = [(f"What is the code of item {number}?", f"The code is {number * 7}.") for number in range(24)]
    texts = [f"{question} {answer} user assistant" for question, answer in rows]
    make_tiny_model(tmp_path / "models" / "base", texts)
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "train.jsonl").open("w") as file:
        for question, answer in rows:
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": messages}) + "\n")
    return tmp_path


def search() -> dict[str, Any]:
    """Return a search in which the third of four learning rates is absurd."""
    return {
        "type": "train",
        "run": {"kind": "FineTuneJob", "namespace": "default", "name": "bot", "uid": "u", "attempt": 1},
        "model": "pvc://models/base",
        "data": {
            "train": [{"name": "items", "uri": "pvc://data/train.jsonl", "format": "messages"}],
            "maxLength": 64,
            "validation": {"fraction": 0.2},
        },
        "method": {"adapter": {"type": "full"}},
        "training": {"maxSteps": STEPS},
        "checkpoints": {"uri": "pvc://models/bot-checkpoints", "everySteps": 8, "keep": 1},
        "output": {"uri": "pvc://models/bot"},
        "tuning": {
            "parameters": [{"name": RATE, "choice": ["0.005", "0.002", "1", "0.00001"]}],
            "trials": 4,
            "maxConcurrentTrials": 2,
            "scheduler": {"graceSteps": 8, "reductionFactor": 2},
            "seed": 0,
        },
    }


def trials(pods: Pods) -> dict[int, TrialRecord]:
    tuning = pods.progress().tuning
    return {trial.number: trial for trial in tuning.trials} if tuning else {}


def test_a_search_that_is_cut_off_goes_on_and_publishes_the_best(volumes: Path) -> None:
    config = search()
    first = Pods(volumes, config, apart=False)
    with first.head() as head:

        def is_half_way() -> bool:
            states = {trial.state for trial in trials(first).values() if trial.value is not None}
            return head.poll() is not None or ("Running" in states and len(states) > 1)

        until(is_half_way, DEADLINE_SECONDS)
        assert head.poll() is None, first.logs()
        first.kill_all_of(head)
    before = trials(first)

    config["run"]["attempt"] = 2
    second = Pods(volumes, config, apart=False)
    assert "\ntrial 2: step=" in first.logs()
    second.log_file("bot-a1").unlink()
    with second.head() as head:
        assert head.wait(DEADLINE_SECONDS) == 0, second.logs()

    after, log = trials(second), second.logs()
    assert sorted(after) == [1, 2, 3, 4]
    # What was over has not been run again, and what had begun went on from its last checkpoint.
    for number, trial in before.items():
        if trial.state != "Running":
            assert after[number] == trial
            assert f"\ntrial {number} (" not in log
        elif trial.value is not None:
            assert f"trial {number} ({RATE}={trial.parameters[RATE]}) goes on after step" in log

    # The absurd one has lost, and was not allowed to go on to its end.
    (absurd,) = (trial for trial in after.values() if trial.parameters == {RATE: "1"})
    assert absurd.state in ("StoppedEarly", "Failed")
    assert absurd.steps < STEPS

    document = second.progress()
    assert document.tuning is not None
    assert document.tuning.best is not None
    best = after[document.tuning.best]
    assert best.value == min(trial.value for trial in after.values() if trial.value is not None)
    assert (document.training and document.training.percent) == 100
    assert document.ending is not None
    assert f"trial {best.number} ({RATE}={best.parameters[RATE]}) was best, with evalLoss" in document.ending

    model = volumes / "models" / "bot"
    load_causal_lm(model)
    lineage = json.loads((model / "lineage.json").read_text())
    assert lineage["config"]["training"]["learningRate"] == float(best.parameters[RATE])
    assert lineage["tuning"]["best"] == best.number
    assert len(lineage["tuning"]["trials"]) == 4
    assert lineage["published"]["step"] == best.step
    assert f"trial {best.number}, the best of 4" in (model / "README.md").read_text()
    page = (model / "training.html").read_text()
    assert "<h2>Trials</h2>" in page
    assert f"Trial {best.number} was best" in page
    # The others' checkpoints are gone.
    folders = [path.name for path in (volumes / "models" / "bot-checkpoints").glob("trial-*")]
    assert folders == [f"trial-{best.number}"]
