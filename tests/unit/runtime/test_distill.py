"""A model learns to say what its teacher would say."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import kl_div
from transformers import LlamaForCausalLM, PreTrainedModel

from tests.reinforcing import RECORDS, make_setup, make_toy, train, weights
from tests.tiny import make_tiny_model
from tunesmith_api.reinforcement import Distillation
from tunesmith_api.training import Adapter
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer
from tunesmith_runtime.train.recipes.distill import DISTILL, TeacherTrainer, build, check_teacher, length

# TRL asks for it by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture(scope="module")
def teacher(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model of the same tokens and other, larger weights, so that it is surer of what it says."""
    path = tmp_path_factory.mktemp("models") / "teacher"
    model = load_causal_lm(toy)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(7)
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(path)
    load_tokenizer(toy).save_pretrained(path)
    return path


def distil(toy: Path, folder: Path, teacher: Path, settings: dict[str, Any] | None = None, **given: Any) -> Any:
    wanted = Distillation(teacher=f"file://{teacher}", **{"max_completion_length": 8, **(settings or {})})
    return build(make_setup(toy, folder, DISTILL, **given), wanted)


def divergence(trainer: TeacherTrainer, teacher: Path) -> float:
    """Return the KL divergence of the student from the teacher per token, over the data's prompts and answers."""
    student: PreTrainedModel = trainer.model.eval()
    master = load_causal_lm(teacher)
    summed = 0.0
    with torch.no_grad():
        for row in trainer.train_dataset:
            ids = torch.tensor([row["prompt_ids"] + row["answer_ids"]])
            told, taught = student(ids).logits.log_softmax(-1), master(ids).logits.log_softmax(-1)
            summed += kl_div(told, taught, log_target=True, reduction="sum").item() / ids.numel()
    return summed / len(RECORDS)


@pytest.mark.parametrize(("lmbda", "beta"), [(1.0, 1.0), (0.0, 0.0), (0.5, 0.5)])
def test_the_student_comes_nearer_to_the_teacher(
    toy: Path, tmp_path: Path, teacher: Path, lmbda: float, beta: float
) -> None:
    trainer = distil(toy, tmp_path, teacher, {"lmbda": lmbda, "beta": beta}, max_steps=30, learning_rate=0.01)
    before = divergence(trainer, teacher)
    losses = [entry["loss"] for entry in train(trainer)]
    assert losses[-1] < losses[0] / 2
    assert divergence(trainer, teacher) < 0.75 * before


def test_a_resumed_run_equals_an_uninterrupted_one(toy: Path, tmp_path: Path, teacher: Path) -> None:
    def make(folder: str) -> TeacherTrainer:
        options: dict[str, Any] = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
        made: TeacherTrainer = distil(
            toy, tmp_path / folder, teacher, {"lmbda": 0.5}, max_steps=5, every_steps=3, learning_rate=0.01, **options
        )
        return made

    whole, resumed = make("whole"), make("resumed")
    expected = train(whole)
    logged = train(resumed, Path(whole.args.output_dir) / "checkpoint-3")
    assert [entry["loss"] for entry in logged] == [entry["loss"] for entry in expected]
    after = weights(resumed)
    assert all(torch.equal(value, after[name]) for name, value in weights(whole).items())


def test_a_row_has_the_prompt_and_the_datas_answer(toy: Path, tmp_path: Path) -> None:
    setup = make_setup(toy, tmp_path, DISTILL)
    row = setup.train[2]
    assert setup.tokenizer.decode(row["prompt_ids"] + row["answer_ids"]) == "Two and two is four.<|im_end|>"
    assert setup.tokenizer.decode(row["input_ids"]) == "Two and two is"
    assert length(row) == len(row["prompt_ids"]) + len(row["answer_ids"])


def test_a_teacher_of_other_tokens_is_refused(toy: Path, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", ["bee bee bee bee"] * 9, hidden_size=32, layers=1, vocab_size=262)
    with pytest.raises(ConfigError, match=r"has another vocabulary: \d+ of its \d+ tokens are not the model's"):
        check_teacher(load_tokenizer(toy), other)
    with pytest.raises(ConfigError, match=r"has another vocabulary"):
        distil(toy, tmp_path, other)
    check_teacher(load_tokenizer(toy), toy)


def test_a_teacher_with_a_larger_output_layer_is_refused(toy: Path, tmp_path: Path) -> None:
    model: LlamaForCausalLM = load_causal_lm(toy)
    model.resize_token_embeddings(model.config.vocab_size + 8, mean_resizing=False)
    model.save_pretrained(tmp_path / "large")
    load_tokenizer(toy).save_pretrained(tmp_path / "large")
    with pytest.raises(ConfigError, match=r"the output layers differ: \d+ tokens, and the model has \d+"):
        distil(toy, tmp_path, tmp_path / "large")


def test_vectors_in_front_are_refused(toy: Path, tmp_path: Path, teacher: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot train the vectors of prompt-tuning; use lora, ia3 or full"):
        distil(toy, tmp_path, teacher, adapter=Adapter(type="prompt-tuning"))
