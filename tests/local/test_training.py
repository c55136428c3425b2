"""Training runs in this process, on a tiny model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.tiny import make_tiny_model
from tunesmith_api.contract import TrainResult, TrainRun, run_config
from tunesmith_runtime.errors import ConfigError, DataError, ModelError, NotWritableError
from tunesmith_runtime.models.lineage import model_digest
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.running import run

# PEFT asks transformers by a name that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

QUESTIONS = {f"What is the code of item {number}?": f"The code is {number * 7}." for number in range(24)}

Make = Callable[..., TrainRun]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [f"{question} {answer} user assistant" for question, answer in QUESTIONS.items()]
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny", texts)


@pytest.fixture
def make(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a builder of training runs below the test's own folder."""
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(base)
    (tmp_path / "data").mkdir()
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in QUESTIONS.items()
    ]
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def build(**changes: Any) -> TrainRun:
        config = {
            "type": "train",
            "run": {"kind": "FineTuneJob", "namespace": "default", "name": "bot", "uid": "uid-1", "attempt": 1},
            "model": "pvc://models/base",
            "data": {
                "train": [{"name": "items", "uri": "pvc://data/train.jsonl", "format": "messages"}],
                "maxLength": 64,
                **changes.pop("data", {}),
            },
            "method": {"adapter": changes.pop("adapter", {"type": "full"})},
            "training": {"learningRate": 0.005, "maxSteps": 8, **changes.pop("training", {})},
            "checkpoints": {"uri": "pvc://models/bot-checkpoints/uid-1", "everySteps": 4, "keep": 2},
            "output": {"uri": "pvc://models/bot"},
            **changes,
        }
        built = run_config.validate_json(json.dumps(config))
        assert isinstance(built, TrainRun)
        return built

    return build


def train(config: TrainRun, tmp_path: Path) -> tuple[TrainResult, ProgressReporter]:
    reporter = ProgressReporter(tmp_path / f"progress-{config.run.attempt}.json")
    return run(config, reporter), reporter


def test_an_adapter_and_a_merged_model_are_published(make: Make, tmp_path: Path, base: Path) -> None:
    result, reporter = train(
        make(adapter={"type": "lora", "r": 4, "alpha": 8}, data={"validation": {"fraction": 0.1}}), tmp_path
    )

    folder = tmp_path / "models" / "bot"
    assert result.model.uri == "pvc://models/bot"
    assert result.model.adapter
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "lineage.json", "adapter"} <= {
        path.name for path in folder.iterdir()
    }
    merged = load_causal_lm(folder)
    adapted = PeftModel.from_pretrained(load_causal_lm(base), folder / "adapter").eval()
    ids = load_tokenizer(folder)("What is the code", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(merged.eval()(ids).logits, adapted(ids).logits, atol=1e-4, rtol=1e-4)
    document = reporter.read()
    assert document.training is not None
    assert (document.training.step, document.training.total_steps) == (8, 8)
    assert document.training.eval_loss is not None
    assert document.data is not None
    assert (document.data.records, document.data.validation_records) == (22, 2)


def test_lineage_names_everything_the_model_was_made_from(make: Make, tmp_path: Path, base: Path) -> None:
    result, _ = train(make(), tmp_path)

    folder = tmp_path / "models" / "bot"
    lineage = json.loads((folder / "lineage.json").read_text())
    assert lineage["digest"] == result.model.digest == model_digest(folder)
    assert lineage["baseModel"] == {"uri": "pvc://models/base", "digest": model_digest(base)}
    assert [each["name"] for each in lineage["data"]] == ["items"]
    assert lineage["config"]["training"]["learningRate"] == 0.005
    assert lineage["packages"]["torch"].startswith("2.13.0")
    assert "| Records | 24 trained on, 0 held out for validation |" in (folder / "README.md").read_text()


def test_an_interrupted_run_ends_with_the_very_model_of_an_uninterrupted_one(make: Make, tmp_path: Path) -> None:
    whole, _ = train(make(data={"packing": "bfd"}), tmp_path)
    checkpoints = tmp_path / "models" / "bot-checkpoints"
    (checkpoints / "uid-2").mkdir()
    shutil.copytree(checkpoints / "uid-1" / "checkpoint-4", checkpoints / "uid-2" / "checkpoint-4")
    again = make(
        data={"packing": "bfd"},
        checkpoints={"uri": "pvc://models/bot-checkpoints/uid-2", "everySteps": 4, "keep": 2},
        output={"uri": "pvc://models/bot2"},
    )
    resumed, reporter = train(again, tmp_path)

    assert reporter.read().resumed_from_step == 4
    assert resumed.model.digest == whole.model.digest
    assert sorted(path.name for path in (checkpoints / "uid-2").iterdir()) == [
        "checkpoint-4",
        "checkpoint-8",
        "history.jsonl",
    ]


def test_run_again_after_the_last_step_only_publishes(make: Make, tmp_path: Path) -> None:
    first, _ = train(make(), tmp_path)
    second, reporter = train(make(), tmp_path)

    assert reporter.read().resumed_from_step == 8
    assert second.model.digest == first.model.digest


def test_a_learning_rate_of_zero_changes_no_weight(make: Make, tmp_path: Path, base: Path) -> None:
    train(make(training={"learningRate": 0.0, "maxSteps": 2}), tmp_path)
    before, after = load_causal_lm(base).state_dict(), load_causal_lm(tmp_path / "models" / "bot").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_data_that_changed_between_attempts_is_refused(make: Make, tmp_path: Path) -> None:
    train(make(), tmp_path)
    with (tmp_path / "data" / "train.jsonl").open("a") as file:
        file.write('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
    with pytest.raises(DataError, match="a dataset has changed since"):
        train(make(), tmp_path)


def test_a_base_model_that_is_missing_or_broken_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pvc://models/none: no such folder"):
        train(make(model="pvc://models/none"), tmp_path)
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match=r"broken has no tokenizer: none of tokenizer\.json, "):
        train(make(model="pvc://models/broken"), tmp_path)


def test_an_output_that_cannot_be_written_is_refused_before_training(make: Make, tmp_path: Path) -> None:
    (tmp_path / "models" / "file").write_text("in the way")
    with pytest.raises(NotWritableError, match="pvc://models/file"):
        train(make(output={"uri": "pvc://models/file/bot"}), tmp_path)


def test_an_unknown_module_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no module named c_attn"):
        train(make(adapter={"type": "lora", "targetModules": ["c_attn"]}), tmp_path)


def test_the_published_model_loads_with_transformers_alone(make: Make, tmp_path: Path) -> None:
    train(make(training={"maxSteps": 1}), tmp_path)
    AutoModelForCausalLM.from_pretrained(tmp_path / "models" / "bot", local_files_only=True)
