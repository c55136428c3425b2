"""Every family by every method that fits it, with LoRA and in full: it learns, resumes, and loads without us."""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

from tests import tiny
from tests.reinforcing import LETTERS
from tunesmith_api.contract import TrainRun, run_config
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.running import run

pytestmark = [
    # PEFT asks transformers by a name that transformers has renamed.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # It also makes patterns for the experts of a mixture, and finds none of them.
    pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys:RuntimeWarning"),
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
    # Of the method; what it logs that must fall, or rise when it is a reward.
    settings: Mapping[str, Any] = field(default_factory=dict)
    logs: str = "loss"

    def __str__(self) -> str:
        return f"{self.model.__name__.removeprefix('make_tiny_')}-{self.method}-{self.data}"


# Answers are learnt from once, so that the reward of each step is that of new ones.
GRPO = {"rewards": [{"function": LETTERS}], "grpo": {"maxCompletionLength": 8, "numGenerations": 5}}
PPO = {"rewards": [{"function": LETTERS}], "ppo": {"maxCompletionLength": 8, "numIterations": 1}}
DISTILL = {"distill": {"teacher": "pvc://models/teacher", "maxCompletionLength": 8, "lmbda": 0.5}}
CASES = [
    Case(tiny.make_tiny_model, "messages", "sft", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_gpt2, "promptCompletion", "sft", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_qwen2, "messages", "sft", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_qwen3, "text", "pt", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_gpt2, "text", "pt", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_mixtral, "messages", "sft", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_model, "preference", "rm", "AutoModelForSequenceClassification"),
    Case(tiny.make_tiny_model, "preference", "dpo", "AutoModelForCausalLM", 1e-3),
    Case(tiny.make_tiny_model, "kto", "kto", "AutoModelForCausalLM", 1e-3),
    Case(tiny.make_tiny_model, "preference", "orpo", "AutoModelForCausalLM"),
    Case(tiny.make_tiny_model, "messages", "grpo", "AutoModelForCausalLM", 1e-2, GRPO, "reward"),
    Case(tiny.make_tiny_model, "messages", "ppo", "AutoModelForCausalLM", 1e-2, PPO, "reward"),
    Case(tiny.make_tiny_model, "messages", "distill", "AutoModelForCausalLM", 5e-3, DISTILL),
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
    _make_teacher(folder / tiny.make_tiny_model.__name__, folder / "teacher")
    return folder


def _make_teacher(student: Path, path: Path) -> None:
    """Write a model with the student's tokenizer that is surer of what it says: chance would be nothing to learn."""
    shutil.copytree(student, path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        model.get_input_embeddings().weight.normal_(std=0.5)
    model.save_pretrained(path)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_learns_resumes_exactly_and_loads_without_us(
    case: Case, adapter: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    _lay_out(tmp_path, models / case.model.__name__, models / "teacher", case)
    whole = ProgressReporter(tmp_path / "whole.json")
    first = run(_config(case, adapter, "whole"), whole)

    logged = _logged(tmp_path / "models" / "whole-checkpoints")
    assert all(math.isfinite(each["loss"]) for each in logged)
    begun, ended = (fmean(each[case.logs] for each in some) for some in (logged[:4], logged[-4:]))
    assert ended > begun if case.logs == "reward" else ended < begun, logged

    kept = tmp_path / "models" / "again-checkpoints" / "checkpoint-7"
    kept.parent.mkdir()
    shutil.copytree(tmp_path / "models" / "whole-checkpoints" / "checkpoint-7", kept)
    again = ProgressReporter(tmp_path / "again.json")
    second = run(_config(case, adapter, "again"), again)
    assert again.read().resumed_from_step == 7
    assert _logged(tmp_path / "models" / "again-checkpoints") == logged
    assert second.model.digest == first.model.digest

    published = tmp_path / "models" / "whole"
    model = getattr(transformers, case.loads).from_pretrained(published, local_files_only=True)
    transformers.AutoTokenizer.from_pretrained(published, local_files_only=True)
    if adapter == "lora":
        plain = getattr(transformers, case.loads).from_pretrained(published, local_files_only=True)
        PeftModel.from_pretrained(plain, published / "adapter")
    assert model.num_parameters() > 0


@pytest.mark.parametrize("case", [case for case in CASES if case.model is tiny.make_tiny_model], ids=str)
def test_weights_that_do_not_learn_stay_in_the_bf16_of_their_files(
    case: Case, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    base = tmp_path / "halved"
    shutil.copytree(models / case.model.__name__, base)
    whole = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    whole.save_pretrained(base)
    _lay_out(tmp_path, base, models / "teacher", case)
    config = _config(case, "lora", "bot")
    run(
        config.model_copy(update={"training": config.training.model_copy(update={"precision": "bf16"})}),
        ProgressReporter(tmp_path / "bot.json"),
    )
    published = tmp_path / "models" / "bot"
    model = getattr(transformers, case.loads).from_pretrained(published, local_files_only=True)
    assert model.dtype == torch.bfloat16
    learnt = load_file(published / "adapter" / "adapter_model.safetensors")
    assert {weight.dtype for weight in learnt.values()} == {torch.float32}
    untouched = whole.model.embed_tokens.weight
    assert torch.equal(model.model.embed_tokens.weight, untouched)


def _lay_out(volumes: Path, base: Path, teacher: Path, case: Case) -> None:
    (volumes / "models").mkdir()
    (volumes / "models" / "base").symlink_to(base)
    (volumes / "models" / "teacher").symlink_to(teacher)
    (volumes / "data").mkdir()
    (volumes / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in DATA[case.data]))


def _config(case: Case, adapter: str, name: str) -> TrainRun:
    document = {
        "type": "train",
        "run": {"kind": "FineTuneJob", "namespace": "default", "name": name, "uid": "u", "attempt": 1},
        "model": "pvc://models/base",
        "data": {
            "train": [{"name": "items", "uri": "pvc://data/train.jsonl", "format": case.data}],
            "maxLength": 96,
        },
        "method": {"type": case.method, "adapter": ADAPTERS[adapter], **case.settings},
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


def _logged(checkpoints: Path) -> list[dict[str, float]]:
    """Return what the last checkpoint says of the loss and the reward of each step."""
    state = json.loads((checkpoints / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return [
        {name: each[name] for name in ("step", "loss", "reward") if name in each}
        for each in state["log_history"]
        if "loss" in each
    ]
