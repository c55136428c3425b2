"""A model learns what a judge prefers, from pairs that nobody has labelled."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.judge import JudgeServer, judge_server
from tests.tiny import make_tiny_model
from tunesmith_api.contract import TrainRun, run_config
from tunesmith_runtime.endpoint import EndpointUnavailableError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.running import run

# PEFT asks transformers by a name that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
COLOURS = ("red", "green", "blue", "grey")
PAIRS, UNDECIDED = 30, 6


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    """Prefer the answer that names a colour; be undecided about every fifth item."""

    def rule(first: str, second: str) -> str:
        return "TIE" if "five" in first + second else "A" if "Item" in first else "B"

    with judge_server(rule=rule) as running:
        yield running


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    rows: list[dict[str, Any]] = []
    for number in range(PAIRS):
        good, bad = f" Item {number} is {COLOURS[number % 4]}.", " I do not know."
        if number % 5 == 0:
            bad = " It is one of five."
        rows.append(
            {"prompt": f"What is the colour of item {number}?", "responses": [good, bad] if number % 2 else [bad, good]}
        )
    make_tiny_model(tmp_path / "models" / "base", [f"{row['prompt']} {row['responses']}" for row in rows])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def config(judge: JudgeServer, name: str, attempt: int = 1) -> TrainRun:
    document = {
        "type": "train",
        "run": {"kind": "FineTuneJob", "namespace": "default", "name": name, "uid": "u", "attempt": attempt},
        "model": "pvc://models/base",
        "data": {
            "train": [{"name": "answers", "uri": "pvc://data/pairs.jsonl", "format": "pairs"}],
            "validation": {"fraction": 0.1},
            "judge": {"url": judge.url, "model": "wise", "maxRetries": 0, "maxConcurrency": 2},
            "maxLength": 96,
        },
        "method": {"type": "dpo", "adapter": {"type": "full"}},
        "training": {"learningRate": 0.001, "maxSteps": 10, "perDeviceTrainBatchSize": 6},
        "checkpoints": {"uri": f"pvc://models/{name}-checkpoints", "everySteps": 6, "keep": 3},
        "output": {"uri": f"pvc://models/{name}"},
    }
    built = run_config.validate_json(json.dumps(document))
    assert isinstance(built, TrainRun)
    return built


def test_it_learns_what_the_judge_prefers_and_asks_nothing_twice(judge: JudgeServer, volumes: Path) -> None:
    judge.budget = 20
    reporter = ProgressReporter(volumes / "1.json")
    with pytest.raises(EndpointUnavailableError, match="the budget is spent"):
        run(config(judge, "bot"), reporter)
    assert reporter.read().stage.startswith("asking the judge")

    judge.budget = None
    reporter = ProgressReporter(volumes / "2.json")
    first = run(config(judge, "bot", 2), reporter)
    asked = len(judge.questions)
    assert asked == len(set(judge.questions)) == 2 * PAIRS - UNDECIDED
    document = reporter.read()
    assert document.data is not None
    assert (document.data.judged, document.data.dropped.undecided) == (PAIRS, UNDECIDED)
    assert (document.data.records, document.data.validation_records) == (22, 2)
    history = (volumes / "models" / "bot" / "history.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["loss"] < json.loads(history[0])["loss"]
    assert json.loads(history[-1])["evalLoss"] < 0.69

    kept = volumes / "models" / "again-checkpoints"
    kept.mkdir()
    shutil.copytree(volumes / "models" / "bot-checkpoints" / "checkpoint-6", kept / "checkpoint-6")
    shutil.copy(volumes / "models" / "bot-checkpoints" / "verdicts.jsonl", kept)
    reporter = ProgressReporter(volumes / "3.json")
    again = run(config(judge, "again"), reporter)
    assert reporter.read().resumed_from_step == 6
    assert again.model.digest == first.model.digest
    assert len(judge.questions) == asked
    lineage = json.loads((volumes / "models" / "again" / "lineage.json").read_text())
    assert lineage["records"]["judged"] == PAIRS
    assert lineage["config"]["data"]["judge"]["model"] == "wise"
