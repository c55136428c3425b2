"""Every family by every method that fits it, with LoRA and in full: it learns, resumes, and loads without us."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import transformers
from peft import PeftModel

from tests import tiny
from tunesmith_api.contract import TrainRun, run_config
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.running import run

pytestmark = [
    # PEFT asks transformers by a name that transformers has renamed.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
STEPS = 12
COLOURS = ("red", "green", "blue", "grey")
Rows = list[dict[str, Any]]


def _question(number: int) -> tuple[str, str]:
    return f"What is the colour of item {number}?", f"Item {number} is {COLOURS[number % 4]}."


def _each(make: Callable[[str, str, int], dict[str, Any]]) -> Rows:
    return [make(*_question(number), number) for number in range(24)]


def _squad_row(question: str, answer: str, number: int) -> dict[str, Any]:
    context = f"There are many items. {answer} There are more."
    colour = COLOURS[number % 4]
    found = (
        {"text": [colour], "answer_start": [context.index(colour)]} if number % 6 else {"text": [], "answer_start": []}
    )
    return {"id": str(number), "context": context, "question": question, "answers": found}


DATA: dict[str, Rows] = {
    "messages": _each(
        lambda question, answer, _: {
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        }
    ),
    "text": _each(lambda question, answer, _: {"text": f"{question} {answer}"}),
    "promptCompletion": _each(lambda question, answer, _: {"prompt": question, "completion": " " + answer}),
    "preference": _each(
        lambda question, answer, _: {"prompt": question, "chosen": " " + answer, "rejected": " I do not know."}
    ),
    "kto": _each(
        lambda question, answer, number: {
            "prompt": question,
            "completion": " " + answer if number % 2 else " I do not know.",
            "label": bool(number % 2),
        }
    ),
    "textClassification": _each(lambda question, answer, number: {"text": answer, "label": COLOURS[number % 4]}),
    "tokenClassification": _each(
        lambda question, answer, number: {
            "tokens": answer.split(),
            "tags": ["B-ITEM", "I-ITEM", "O", "O"],
        }
    ),
    "squad": _each(_squad_row),
}
TEXTS = [
    f"{question} {answer} user assistant There are many more items. I do not know."
    for question, answer in map(_question, range(24))
]


@dataclass(frozen=True)
class Case:
    """A family, what it learns from and by, and the class of transformers that loads the outcome."""

    model: Callable[[Path, Sequence[str]], Path]
    data: str
    method: str
    loads: str
    learning_rate: float = 5e-3

    def __str__(self) -> str:
        return f"{self.model.__name__.removeprefix('make_tiny_')}-{self.method}-{self.data}"


CASES = [
    Case(tiny.make_tiny_model, "messages", "sft", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_gpt2, "promptCompletion", "sft", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_qwen2, "messages", "sft", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_qwen3, "text", "pt", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_gpt2, "text", "pt", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_model, "preference", "rm", "AutoModelForSequenceClassification"),
    Case(tiny.make_tiny_model, "preference", "dpo", "AutoModelForCausalLM", 1e-3),
    Case(tiny.make_tiny_model, "kto", "kto", "AutoModelForCausalLM", 1e-3),
    Case(tiny.make_tiny_model, "preference", "orpo", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_bert, "text", "pt", "AutoModelForMaskedLM"),
    Case(tiny.make_tiny_roberta, "text", "pt", "AutoModelForMaskedLM"),
    Case(tiny.make_tiny_bert, "textClassification", "sft", "AutoModelForSequenceClassification"),
    Case(tiny.make_tiny_model, "textClassification", "sft", "AutoModelForSequenceClassification"),
    Case(tiny.make_tiny_roberta, "tokenClassification", "sft", "AutoModelForTokenClassification"),
    Case(tiny.make_tiny_bert, "squad", "sft", "AutoModelForQuestionAnswering"),
    Case(tiny.make_tiny_t5, "promptCompletion", "sft", "AutoModelForSeq2SeqLM"),
]
ADAPTERS: dict[str, dict[str, Any]] = {"full": {"type": "full"}, "lora": {"type": "lora", "r": 8, "alpha": 32}}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for make in {case.model for case in CASES}:
        make(folder / make.__name__, TEXTS)
    return folder


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_learns_resumes_exactly_and_loads_without_us(
    case: Case, adapter: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(models / case.model.__name__)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in DATA[case.data]))
    whole = ProgressReporter(tmp_path / "whole.json")
    first = run(_config(case, adapter, "whole"), whole)

    losses = _losses(tmp_path / "models" / "whole-checkpoints")
    assert all(map(math.isfinite, losses))
    assert sum(losses[-4:]) < sum(losses[:4]), losses

    kept = tmp_path / "models" / "again-checkpoints" / "checkpoint-7"
    kept.parent.mkdir()
    shutil.copytree(tmp_path / "models" / "whole-checkpoints" / "checkpoint-7", kept)
    again = ProgressReporter(tmp_path / "again.json")
    second = run(_config(case, adapter, "again"), again)
    assert again.read().resumed_from_step == 7
    assert _losses(tmp_path / "models" / "again-checkpoints") == losses
    assert second.model.digest == first.model.digest

    published = tmp_path / "models" / "whole"
    model = getattr(transformers, case.loads).from_pretrained(published, local_files_only=True)
    transformers.AutoTokenizer.from_pretrained(published, local_files_only=True)
    if adapter == "lora":
        plain = getattr(transformers, case.loads).from_pretrained(published, local_files_only=True)
        PeftModel.from_pretrained(plain, published / "adapter")
    assert model.num_parameters() > 0


def _config(case: Case, adapter: str, name: str) -> TrainRun:
    document = {
        "type": "train",
        "run": {"kind": "FineTuneJob", "namespace": "default", "name": name, "uid": "u", "attempt": 1},
        "model": "pvc://models/base",
        "data": {
            "train": [{"name": "items", "uri": "pvc://data/train.jsonl", "format": case.data}],
            "maxLength": 96,
        },
        "method": {"type": case.method, "adapter": ADAPTERS[adapter]},
        # Three epochs of five steps, the last one cut off: it resumes in the middle of the second.
        "training": {
            "learningRate": case.learning_rate,
            "maxSteps": STEPS,
            "perDeviceTrainBatchSize": 5,
            "lrSchedulerType": "constant",
        },
        "checkpoints": {"uri": f"pvc://models/{name}-checkpoints", "everySteps": 7, "keep": 3},
        "output": {"uri": f"pvc://models/{name}"},
    }
    config = run_config.validate_json(json.dumps(document))
    assert isinstance(config, TrainRun)
    return config


def _losses(checkpoints: Path) -> list[float]:
    """Return the training loss of each step, as the last checkpoint has it."""
    state = json.loads((checkpoints / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return [each["loss"] for each in state["log_history"] if "loss" in each]
