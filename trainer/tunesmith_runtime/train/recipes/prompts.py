"""What the methods share that let the model write answers: rows of prompts, and room for the answers."""

from collections.abc import Iterator

from tunesmith_runtime.data.records import Completion, Conversation, Question, Record, as_conversation, references
from tunesmith_runtime.data.records import shown_prompt as shown
from tunesmith_runtime.data.tokenizing import prompt_ids
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.recipes.recipe import Encoder, Row, Setup
from tunesmith_runtime.train.rewards.scoring import RAW

ACCEPTED = (Conversation, Completion, Question)


def encode(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield what comes before the last answer, and the answers that are accepted.

    `input_ids` are the prompt's tokens, `prompt` is its text for people and functions, `turns` its messages: a single
    one without a role when it is raw text.
    """
    asked = as_asked(record)
    if asked is None:
        return
    if isinstance(asked, Conversation):
        turns = [{"role": message.role, "content": message.content} for message in asked.messages[:-1]]
        if not turns:
            return
    else:
        turns = [{"role": RAW, "content": asked.prompt}]
    yield {
        "input_ids": prompt_ids(asked, encoder.tokenizer),
        "prompt": shown(asked),
        "turns": turns,
        "references": list(references(asked)),
    }


def as_asked(record: Record) -> Conversation | Completion | None:
    """Return the record as a prompt and its answer, or None when it has none."""
    found = as_conversation(record) if isinstance(record, Question) else record
    assert found is None or isinstance(found, Conversation | Completion)  # noqa: S101 - what the recipes accept
    return found


def check_adapter(setup: Setup) -> None:
    """Raise ConfigError for vectors in front of the input: TRL's fused losses and left padding pass them by."""
    adapter = setup.config.method.adapter.type
    if adapter in ("prefix-tuning", "prompt-tuning"):
        raise ConfigError(
            f"spec.method.adapter.type: method {setup.config.method.type} cannot train the vectors of {adapter}; use "
            "lora, ia3 or full"
        )


def check_room(setup: Setup, max_completion_length: int) -> None:
    """Raise ConfigError when the longest prompt and the longest answer do not fit the model's positions."""
    positions = getattr(setup.model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(len(ids) for ids in setup.train["input_ids"])
    if positions is not None and longest + max_completion_length > positions:
        raise ConfigError(
            f"spec.method: the longest prompt has {longest} tokens, and with an answer of "
            f"maxCompletionLength {max_completion_length} that is more than the model's {positions} positions; lower "
            "maxCompletionLength or data.maxLength"
        )
