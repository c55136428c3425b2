"""What the preference methods share: rows of prompts and answers, and the model that answers are measured against."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from operator import eq
from typing import Any

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tunesmith_runtime import storage
from tunesmith_runtime.data.records import Answerable, Preference, Record
from tunesmith_runtime.data.tokenizing import IGNORED, tokenize
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.models.loading import load_causal_lm
from tunesmith_runtime.train.recipes.recipe import Encoder, Row, Setup

# TRL's name of the frozen copy of an adapter.
REFERENCE_ADAPTER = "ref"


def encode_pair(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield `prompt_ids`, `chosen_ids` and `rejected_ids` of a preference; nothing when its answers are the same.

    The prompt ends where the two token sequences part: a token across the border belongs to the answers.
    """
    assert isinstance(record, Preference)  # noqa: S101 - what the recipes accept
    chosen, chosen_prompt = answered(record.chosen, encoder.tokenizer)
    rejected, rejected_prompt = answered(record.rejected, encoder.tokenizer)
    if chosen == rejected:
        return
    shared = _shared(chosen[:chosen_prompt], rejected[:rejected_prompt])
    yield {
        "prompt_ids": chosen[:shared] or start(encoder.tokenizer),
        "chosen_ids": chosen[shared:],
        "rejected_ids": rejected[shared:],
    }


def pair_length(row: Row) -> int:
    """Return the tokens of the longer of the two sequences."""
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def answered(record: Answerable, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], int]:
    """Return the tokens of a prompt and its answer, with what ends it, and how many of them are the prompt's.

    The answer of a conversation begins with the first assistant turn that is scored, and goes on to the end.
    """
    tokens = tokenize(record, tokenizer)
    prompt = next((index for index, label in enumerate(tokens.labels) if label != IGNORED), len(tokens.labels))
    return tokens.input_ids, prompt


def start(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return what an answer without a prompt follows, in training as in generation."""
    first = tokenizer.bos_token_id
    return [tokenizer.eos_token_id if first is None else first]


def _shared(one: list[int], other: list[int]) -> int:
    """Return how many tokens two sequences begin with alike."""
    return sum(1 for _ in takewhile(bool, map(eq, one, other)))


def check_reference(setup: Setup) -> None:
    """Raise ConfigError for an adapter that a comparison with the reference would leave out of account."""
    method, adapter = setup.config.method.type, setup.config.method.adapter
    if adapter.type == "lora" and adapter.dropout:
        raise ConfigError(
            f"spec.method.adapter.dropout: method {method} compares the model with the one it began as, and dropout "
            "would be noise in that; leave it out"
        )
    if isinstance(setup.model, PeftModel) and isinstance(setup.model.get_output_embeddings(), BaseTunerLayer):
        raise ConfigError(
            f"spec.method.adapter.targetModules: method {method} reads the output layer's own weights, so that an "
            "adapter on it would learn nothing; name other modules, or all-linear"
        )


def reference_model(setup: Setup) -> PreTrainedModel | None:
    """Return the model that training begins with, frozen; None with an adapter, without which the model is that one.

    It comes from the spec's folder and never from a checkpoint, so that a resumed run compares with the same model.
    """
    if isinstance(setup.model, PeftModel):
        return None
    path = storage.model_path(setup.config.model)
    return load_causal_lm(path, setup.model.dtype).requires_grad_(requires_grad=False)


@contextmanager
def copying_adapter() -> Iterator[None]:
    """Let TRL copy an adapter without a warning that is not for its kind: prompts are saved without their names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f"Adapter name '{REFERENCE_ADAPTER}' should not be contained")
        yield


def settle_reference(trainer: Trainer, setup: Setup) -> None:
    """Decide what TRL takes for the reference of an adapter, of which it has made a frozen copy.

    Of a new adapter the copy is deleted: the reference is the base model, which the model is with its adapter off. An
    adapter that goes on from an earlier one is compared with that: the copy stays in the model and its checkpoints
    until training ends, and is not published.
    """
    if not isinstance(setup.model, PeftModel):
        return
    if setup.config.method.adapter.continue_from is None:
        setup.model.delete_adapter(REFERENCE_ADAPTER)
    else:
        trainer.add_callback(_DeleteReference())


class _DeleteReference(TrainerCallback):
    """Deletes the frozen copy of the adapter when training is over."""

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        kwargs["model"].delete_adapter(REFERENCE_ADAPTER)
