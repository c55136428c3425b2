"""Runs that are measured on their way, stop when they no longer get better, and publish their best checkpoint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.local.pods import Pods
from tests.tiny import make_tiny_model
from tunesmith_api.contract import ProgressDocument, RunIdentity, TrainResult, TrainRun, run_config
from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import telemetry
from tunesmith_runtime.train.recovery.attempt import PodEndingError
from tunesmith_runtime.train.recovery.pod import PodFiles
from tunesmith_runtime.train.running import run

# PEFT asks transformers by a name that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

LEARNT = [f"Item {number} has the code {number * 7}." for number in range(8)]
FRESH = [f"Nobody knows what the code of thing {number} is today." for number in range(4)]
ADAPTER = {"type": "lora", "r": 8, "alpha": 64}
# A run of two workers takes half a minute; on a busy machine several.
DEADLINE_SECONDS = 900

Run = Callable[..., tuple[TrainResult, ProgressDocument]]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny", LEARNT + FRESH, hidden_size=32)


@pytest.fixture
def train(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs a job that learns eight sentences by heart, and so forgets all others."""
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(base)
    (tmp_path / "data").mkdir()
    for name, texts in (("train", LEARNT), ("fresh", FRESH)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / "data" / f"{name}.jsonl").write_text(lines)
    (tmp_path / "data" / "facts.jsonl").write_text(json.dumps({"prompt": "Item 3 has", "completion": "the code 21."}))

    def carry_out(
        name: str, kind: type[ProgressReporter] = ProgressReporter, **changes: Any
    ) -> tuple[TrainResult, ProgressDocument]:
        config = run_config.validate_json(json.dumps(config_of(name, **changes)))
        assert isinstance(config, TrainRun)
        reporter = kind(tmp_path / f"{name}.json")
        return run(config, reporter), reporter.read()

    return carry_out


def config_of(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "type": "train",
        "run": {"kind": "FineTuneJob", "namespace": "default", "name": name, "uid": "u", "attempt": 1},
        "model": "pvc://models/base",
        "data": {
            "train": [{"name": "items", "uri": "pvc://data/train.jsonl", "format": "text"}],
            "validation": {"dataset": {"uri": "pvc://data/fresh.jsonl", "format": "text"}},
            "maxLength": 64,
        },
        "method": {"type": "pt", "adapter": changes.pop("adapter", {"type": "full"})},
        "training": {
            "learningRate": 0.01,
            "maxSteps": 60,
            "lrSchedulerType": "constant",
            **changes.pop("training", {}),
        },
        "checkpoints": {"uri": f"pvc://models/{name}-checkpoints", "everySteps": 3, "keep": 1},
        "output": {"uri": f"pvc://models/{name}"},
        **changes,
    }


def stopping(metric: str, *suites: dict[str, Any], parallel: bool | None = False, patience: int = 2) -> dict[str, Any]:
    return {"suites": suites, "parallel": parallel, "earlyStopping": {"metric": metric, "patience": patience}}


PERPLEXITY = {"name": "fresh", "perplexity": {"uri": "pvc://data/fresh.jsonl"}}
FACTS = {"name": "facts", "golden": {"uri": "pvc://data/facts.jsonl", "maxNewTokens": 4}}


def best_of(document: ProgressDocument) -> tuple[int, dict[str, float]]:
    assert document.best is not None
    return document.best.step, {each.metric: each.value for each in document.best.metrics}


def last_step(document: ProgressDocument) -> int:
    assert document.training is not None
    return document.training.step


def weights_of(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def kept(models: Path, name: str) -> list[int]:
    return sorted(int(path.name[11:]) for path in (models / f"{name}-checkpoints").glob("checkpoint-*"))


def measured(models: Path, name: str) -> dict[int, dict[str, float]]:
    lines = (models / f"{name}-checkpoints" / "history.jsonl").read_text().splitlines()
    return {row["step"]: row["measured"] for row in map(json.loads, lines) if "measured" in row}


def test_an_overfitting_run_stops_and_publishes_its_best_checkpoint(train: Run, tmp_path: Path) -> None:
    _, document = train("loss", evaluation=stopping("evalLoss"))

    models = tmp_path / "models"
    best, metrics = best_of(document)
    stopped = last_step(document)
    assert best < stopped < 60
    assert stopped == best + 2 * 3
    assert document.ending == (
        f"stopped early at step {stopped}: evalLoss has not improved for 2 evaluations; best was "
        f"{metrics['evalLoss']:.4g} at step {best}, whose weights are published"
    )
    assert kept(models, "loss") == [best, stopped]  # keep is 1 and counts the others
    assert weights_of(models / "loss") == weights_of(models / "loss-checkpoints" / f"checkpoint-{best}")
    assert weights_of(models / "loss") != weights_of(models / "loss-checkpoints" / f"checkpoint-{stopped}")
    assert document.checkpoint is not None
    assert [each.metric for each in document.checkpoint.metrics] == ["evalLoss"]
    assert json.loads((models / "loss" / "lineage.json").read_text())["published"]["step"] == best


def test_a_stopped_run_that_is_tried_again_publishes_the_same(train: Run, tmp_path: Path) -> None:
    first, document = train("again", evaluation=stopping("evalLoss"))
    steps = kept(tmp_path / "models", "again")
    second, after = train("again", evaluation=stopping("evalLoss"))

    assert second.model.digest == first.model.digest
    assert after.resumed_from_step == last_step(document)
    assert best_of(after) == best_of(document)
    assert after.ending == document.ending
    assert kept(tmp_path / "models", "again") == steps


def test_a_resumed_run_stops_where_the_uninterrupted_one_does(train: Run, tmp_path: Path) -> None:
    wanted = {"evaluation": stopping("fresh/perplexity", PERPLEXITY), "adapter": ADAPTER}
    checkpoints = {"everySteps": 3, "keep": 99}
    whole, document = train("whole", checkpoints={"uri": "pvc://models/whole-checkpoints", **checkpoints}, **wanted)
    best, stopped = best_of(document)[0], last_step(document)
    assert best < stopped < 60

    models = tmp_path / "models"
    resumes = stopped - 3  # the patience is half used up
    (models / "resumed-checkpoints").mkdir()
    for step in (best, resumes):
        name = f"checkpoint-{step}"
        shutil.copytree(models / "whole-checkpoints" / name, models / "resumed-checkpoints" / name)
    resumed, after = train("resumed", checkpoints={"uri": "pvc://models/resumed-checkpoints", **checkpoints}, **wanted)
    assert after.resumed_from_step == resumes
    assert (last_step(after), best_of(after)) == (stopped, best_of(document))
    assert resumed.model.digest == whole.model.digest


class ToldToEnd(ProgressReporter):
    """Has the pod told to end in step 6, in the middle of which it has reported step 5."""

    def update(self, **changes: Any) -> ProgressDocument:
        document = super().update(**changes)
        if document.training is not None and document.training.step == 5:
            PodFiles.of(RunIdentity.model_validate(config_of("ended")["run"])).ask_to_end()
        return document


def test_a_run_that_is_told_to_end_at_a_checkpoint_makes_up_for_what_was_to_be_measured(
    train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at once, with a checkpoint that nobody has measured, and all comes out as if nothing had been."""
    monkeypatch.setattr(telemetry, "REPORT_SECONDS", 0.0)
    wanted = {"evaluation": stopping("fresh/perplexity", PERPLEXITY), "adapter": ADAPTER}
    whole, document = train("undisturbed", **wanted)
    with pytest.raises(PodEndingError, match="checkpoint 6 was taken"):
        train("ended", ToldToEnd, **wanted)
    assert sorted(measured(tmp_path / "models", "ended")) == [3]
    assert kept(tmp_path / "models", "ended")[-1] == 6

    ended, after = train("ended", **wanted)
    assert after.resumed_from_step == 6
    assert (last_step(after), best_of(after)) == (last_step(document), best_of(document))
    assert ended.model.digest == whole.model.digest
    assert measured(tmp_path / "models", "ended") == measured(tmp_path / "models", "undisturbed")


def test_suites_leave_training_as_it_is(train: Run, tmp_path: Path) -> None:
    settings = {"adapter": {**ADAPTER, "dropout": 0.1}, "training": {"maxSteps": 7}}
    plain, _ = train("plain", **settings)
    watched, document = train("watched", evaluation={"suites": [PERPLEXITY, FACTS], "parallel": False}, **settings)

    assert watched.model.digest == plain.model.digest
    models = tmp_path / "models"
    assert sorted(measured(models, "watched")) == [3, 6, 7]
    assert document.training is not None
    values = {each.metric: each.value for each in document.training.metrics}
    assert values.keys() == {"evalLoss", "fresh/perplexity", "facts/exactMatch", "facts/f1"}
    assert document.checkpoint is not None
    assert document.checkpoint.metrics == document.training.metrics
    page = (models / "watched" / "training.html").read_text()
    assert "<h3>fresh/perplexity</h3>" in page
    assert document.best is None
    assert document.ending is None


def test_a_process_beside_training_measures_the_same(train: Run, tmp_path: Path) -> None:
    wanted = {"adapter": ADAPTER, "training": {"maxSteps": 6}}
    between, _ = train("between", evaluation=stopping("fresh/perplexity", PERPLEXITY, patience=9), **wanted)
    beside, document = train(
        "beside", evaluation=stopping("fresh/perplexity", PERPLEXITY, parallel=True, patience=9), **wanted
    )

    models = tmp_path / "models"
    found = measured(models, "beside")
    assert found == {step: pytest.approx(values, rel=1e-5) for step, values in measured(models, "between").items()}
    best = min(found, key=lambda step: found[step]["fresh/perplexity"])
    assert best_of(document)[0] == best
    assert beside.model.digest == between.model.digest


@pytest.mark.usefixtures("train")
def test_workers_that_share_the_weights_stop_together(tmp_path: Path) -> None:
    # Nobody has the whole model between two steps: a process measures, and the best weights are handed out again.
    config = config_of(
        "spread",
        evaluation=stopping("evalLoss", PERPLEXITY, parallel=None, patience=1),
        checkpoints={"uri": "pvc://models/spread-checkpoints", "everySteps": 12, "keep": 1},
        training={"perDeviceTrainBatchSize": 4},
        workers=2,
        deepspeed={"zeroStage": 3},
    )
    pods = Pods(tmp_path, config, apart=False)
    with pods.head() as head:
        assert head.wait(DEADLINE_SECONDS) == 0, pods.logs()

    models, document = tmp_path / "models", pods.progress()
    assert (best_of(document)[0], last_step(document)) == (12, 24)
    assert sorted(measured(models, "spread")) == [12, 24]
    assert best_of(document)[1].keys() == {"evalLoss", "fresh/perplexity"}
    assert weights_of(models / "spread") == weights_of(models / "spread-checkpoints" / "checkpoint-12")


def test_a_model_that_does_not_write_has_no_suites(train: Run, tmp_path: Path) -> None:
    rows = [{"text": text, "label": f"l{index % 2}"} for index, text in enumerate(LEARNT)]
    (tmp_path / "data" / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": [{"name": "a", "uri": "pvc://data/labels.jsonl", "format": "textClassification"}]}
    with pytest.raises(ConfigError, match="causal language model, and this job trains for task sequence-class"):
        train("classifier", data=data, method={"type": "sft"}, evaluation={"suites": [PERPLEXITY]})


def test_a_suite_that_cannot_be_run_ends_the_run_before_training(train: Run, tmp_path: Path) -> None:
    missing = {"name": "fresh", "perplexity": {"uri": "pvc://data/none.jsonl"}}
    with pytest.raises(DataError, match=r"pvc://data/none\.jsonl"):
        train("missing", evaluation={"suites": [missing]})
    long = {"name": "facts", "golden": {"uri": "pvc://data/facts.jsonl", "maxNewTokens": 600}}
    with pytest.raises(DataError, match="maxNewTokens 600"):
        train("long", evaluation={"suites": [long]})
    assert not list((tmp_path / "models").glob("*-checkpoints/checkpoint-*"))
