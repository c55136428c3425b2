"""A reward model that learns general pairs, and then those of a domain that it does not contradict."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

from tests.tiny import make_tiny_model
from tunesmith_api.contract import TrainRun, run_config
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.running import run

# PEFT asks transformers by a name that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
COLOURS = ("red", "green", "blue", "grey")
GENERAL, DOMAIN, WRONG = 48, 16, 5
FULL = {"type": "full"}
LORA = {"type": "lora", "r": 8, "alpha": 32}

Row = dict[str, str]
Make = Callable[..., TrainRun]


def pair(number: int, *, wrong: bool = False) -> Row:
    good, bad = f" Item {number} is {COLOURS[number % 4]}.", " I do not know."
    chosen, rejected = (bad, good) if wrong else (good, bad)
    return {"prompt": f"What is the colour of item {number}?", "chosen": chosen, "rejected": rejected}


def write(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [" ".join(pair(number).values()) for number in range(GENERAL + DOMAIN)]
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny", texts, hidden_size=32)


@pytest.fixture
def make(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a builder of runs; of the domain's pairs every third has the wrong label."""
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(base)
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "general.jsonl", [pair(number) for number in range(GENERAL)])
    write(
        tmp_path / "data" / "domain.jsonl",
        [pair(GENERAL + number, wrong=number % 3 == 1) for number in range(DOMAIN)],
    )

    def build(name: str, adapter: dict[str, Any], **changes: Any) -> TrainRun:
        config = {
            "type": "train",
            "run": {"kind": "FineTuneJob", "namespace": "default", "name": name, "uid": "u", "attempt": 1},
            "model": "pvc://models/base",
            "data": {
                "train": [{"name": "general", "uri": "pvc://data/general.jsonl", "format": "preference"}],
                "validation": {"fraction": 0.4},
                "maxLength": 96,
            },
            "method": {
                "type": "rm",
                "adapter": adapter,
                "rm": {
                    "domain": {
                        "train": [{"name": "tickets", "uri": "pvc://data/domain.jsonl", "format": "preference"}],
                        "numTrainEpochs": 2,
                    }
                },
            },
            "training": {"learningRate": 0.003, "maxSteps": 10, "perDeviceTrainBatchSize": 6},
            "checkpoints": {"uri": f"pvc://models/{name}-checkpoints", "everySteps": 3, "keep": 9},
            "output": {"uri": f"pvc://models/{name}"},
            **changes,
        }
        built = run_config.validate_json(json.dumps(config))
        assert isinstance(built, TrainRun)
        return built

    return build


def train(config: TrainRun, tmp_path: Path) -> tuple[str | None, ProgressReporter]:
    reporter = ProgressReporter(tmp_path / f"{config.run.name}.json")
    return run(config, reporter).model.digest, reporter


def steps_in(history: Path) -> list[tuple[int, str]]:
    return [(row["step"], row.get("stage", "")) for row in map(json.loads, history.read_text().splitlines())]


@pytest.mark.parametrize("adapter", [FULL, LORA], ids=["full", "lora"])
def test_what_contradicts_the_first_stage_is_left_out_of_the_second_and_every_kill_is_survived(
    make: Make, tmp_path: Path, adapter: dict[str, Any]
) -> None:
    digest, reporter = train(make("whole", adapter), tmp_path)

    document = reporter.read()
    assert document.data is not None
    assert document.data.dropped.contradicted == WRONG
    assert {each.name: each.records for each in document.data.datasets} == {"general": 29, "tickets": DOMAIN - WRONG}
    assert document.data.records == 29 + DOMAIN - WRONG
    # Two passes over 11 pairs, 6 at a time.
    assert document.training is not None
    assert (document.training.step, document.training.total_steps, document.training.percent) == (14, 14, 100)
    assert document.checkpoint is not None
    assert (document.checkpoint.step, document.checkpoint.uri) == (
        14,
        "pvc://models/whole-checkpoints/domain/checkpoint-4",
    )
    kept = tmp_path / "models" / "whole-checkpoints"
    left_out = [json.loads(line) for line in (kept / "domain" / "contradicted.jsonl").read_text().splitlines()]
    assert len(left_out) == WRONG
    assert all("I do not know" in each["chosen"] and each["margin"] < 0 for each in left_out)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "models" / "whole", local_files_only=True)
    assert model.config.num_labels == 1
    assert (
        json.loads((tmp_path / "models" / "whole" / "lineage.json").read_text())["records"]["dropped"]["contradicted"]
        == WRONG
    )
    assert steps_in(tmp_path / "models" / "whole" / "history.jsonl")[-1] == (14, "training, stage 2 of 2")

    # Killed in the second stage; in the first one; before and after the pairs were judged.
    kills = [
        ("late", ["checkpoint-10", "domain/decision.json", "domain/checkpoint-3"], 13),
        ("early", ["checkpoint-3"], 3),
        ("between", ["checkpoint-10"], 10),
        ("judged", ["checkpoint-9", "checkpoint-10", "domain/decision.json"], 10),
    ]
    for name, until, resumed in kills if adapter == FULL else kills[:1]:
        folder = tmp_path / "models" / f"{name}-checkpoints"
        for each in until:
            (folder / each).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (kept / each).is_dir() else shutil.copyfile
            copy(kept / each, folder / each)
        again, reporter = train(make(name, adapter), tmp_path)
        assert again == digest, name
        assert reporter.read().resumed_from_step == resumed
        data = reporter.read().data
        assert data is not None
        assert data.dropped.contradicted == WRONG


def test_a_decision_is_kept_and_not_made_again(make: Make, tmp_path: Path) -> None:
    train(make("bot", FULL), tmp_path)
    folder = tmp_path / "models" / "bot-checkpoints" / "domain"
    decided = json.loads((folder / "decision.json").read_text())
    decided |= {"contradicted": [0, 1], "kept": {"tickets": {"records": 14, "tokens": 99, "contradicted": 2}}}
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "decision.json").write_text(json.dumps(decided))

    _, reporter = train(make("bot", FULL), tmp_path)

    document = reporter.read()
    assert document.data is not None
    assert document.data.dropped.contradicted == 2
    assert document.training is not None
    assert document.training.total_steps == 10 + 6  # two passes over 14 pairs

    write(tmp_path / "data" / "domain.jsonl", [pair(number) for number in range(20)])
    with pytest.raises(DataError, match=r"domain/decision\.json speaks of other data: a dataset has changed since"):
        train(make("bot", FULL), tmp_path)


def test_too_few_general_pairs_are_refused_before_any_training(make: Make, tmp_path: Path) -> None:
    write(tmp_path / "data" / "general.jsonl", [pair(number) for number in range(30)])
    with pytest.raises(DataError, match="needs 19 general pairs held out and there are 12; hold out more"):
        train(make("bot", FULL), tmp_path)
    assert not list((tmp_path / "models" / "bot-checkpoints").glob("checkpoint-*"))
