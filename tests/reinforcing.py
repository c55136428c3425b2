"""What tests of methods that write answers need: a tiny model, a few questions, rewards that are easy to earn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from transformers import Trainer, set_seed

from tests.tiny import make_tiny_model
from tunesmith_api.contract import RunCheckpoints, RunIdentity, TrainRun
from tunesmith_api.data import Dataset, TrainingData
from tunesmith_api.deepspeed import DeepSpeed
from tunesmith_api.finetunejob import Output
from tunesmith_api.training import Adapter, Method, Training
from tunesmith_runtime.data.records import ASSISTANT, Completion, Conversation, Message, Record
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer
from tunesmith_runtime.train import checkpoints
from tunesmith_runtime.train.arguments import training_arguments
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Setup

TEXTS = ["What colour is the sky? Blue.", "How many legs has a spider? Eight.", "user assistant"]
RECORDS: tuple[Record, ...] = (
    Conversation((Message("user", "What colour is the sky?"), Message(ASSISTANT, "Blue."))),
    Conversation((Message("system", "Be brief."), Message("user", "Legs of a spider?"), Message(ASSISTANT, "8"))),
    Completion("Two and two is", " four."),
    Completion("The sky", " is blue."),
)


def share_of_letters(prompts: Sequence[str], completions: Sequence[str], references: Any) -> list[float]:
    """Return the share of small Latin letters in each answer: about a tenth at random."""
    return [sum("a" <= sign <= "z" for sign in text) / max(len(text), 1) for text in completions]


def not_a_number(prompts: Sequence[str], completions: Sequence[str], references: Any) -> list[float]:
    return [float("nan")] * len(completions)


def too_few(prompts: Sequence[str], completions: Sequence[str], references: Any) -> list[float]:
    return [0.0]


def failing(prompts: Sequence[str], completions: Sequence[str], references: Any) -> list[float]:
    raise ValueError("no such table")


LETTERS = f"{__name__}:{share_of_letters.__name__}"


def make_toy(path: Path) -> Path:
    """Write a language model of a few thousand parameters; nearly every token of its is a single byte."""
    return make_tiny_model(path, TEXTS, hidden_size=32, layers=1, vocab_size=270)


def make_setup(
    model: Path,
    folder: Path,
    recipe: Recipe,
    *,
    records: Sequence[Record] = RECORDS,
    adapter: Adapter | None = None,
    every_steps: int = 1000,
    validates: bool = False,
    deepspeed: DeepSpeed | None = None,
    **training: Any,
) -> Setup:
    """Return what the training loop gives a recipe; keywords are hyperparameters."""
    adapter = adapter or Adapter(type="full")
    source = Dataset(name="asked", uri="file:///data.jsonl", format="messages")
    config = TrainRun(
        run=RunIdentity(kind="FineTuneJob", namespace="default", name="bot", uid="1", attempt=1),
        model=f"file://{model}",
        data=TrainingData(train=(source,)),
        method=Method(adapter=adapter),
        training=Training(**{"lr_scheduler_type": "constant", **training}),
        checkpoints=RunCheckpoints(uri=f"file://{folder}", every_steps=every_steps, keep=99),
        output=Output(uri="file:///out/model"),
        deepspeed=deepspeed,
    )
    tokenizer = load_tokenizer(model)
    encoder = Encoder(tokenizer, 64)
    rows = [row for record in records for row in recipe.encode(record, encoder)]
    learnt = datasets.Dataset.from_list(rows)
    arguments = training_arguments(config, checkpoints.store(config.checkpoints.uri), validates=validates)
    return Setup(
        config=config,
        model=_with_adapter(model, adapter),
        tokenizer=tokenizer,
        arguments=arguments,
        train=learnt,
        validation={"heldout": learnt} if validates else {},
    )


def _with_adapter(path: Path, adapter: Adapter) -> Any:
    from peft import LoraConfig, PromptTuningConfig, get_peft_model

    set_seed(0)
    model = load_causal_lm(path)
    if adapter.type == "lora":
        given = LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=adapter.dropout, target_modules="all-linear")
        return get_peft_model(model, given)
    if adapter.type == "prompt-tuning":
        return get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    return model


def train(trainer: Trainer, resume: Path | None = None) -> list[dict[str, float]]:
    """Train, and return what was logged at each step."""
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def weights(trainer: Trainer) -> dict[str, Any]:
    """Return copies of the weights that learn."""
    return {name: each.detach().clone() for name, each in trainer.model.named_parameters() if each.requires_grad}
