"""Encoder-decoder models: a prompt is read by the encoder, and the decoder learns to write the answer."""

from collections.abc import Iterator

from transformers import DataCollatorForSeq2Seq

from tunesmith_runtime.data.records import (
    ASSISTANT,
    Completion,
    Conversation,
    Question,
    Record,
    as_conversation,
    shown_prompt,
)
from tunesmith_runtime.data.tokenizing import prompt_ids
from tunesmith_runtime.train.recipes.heads import HeadTrainer, token_losses
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Row, Setup


def encode(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield a row for each answer that counts: `input_ids` of what comes before it, `labels` of the answer and its end.

    A conversation is written by the tokenizer's chat template where it has one of its own, else as `shown_prompt`
    shows it to people. A question without an answer yields nothing.
    """
    if isinstance(record, Question):
        asked = as_conversation(record)
        if asked is None:
            return
        record = asked
    assert isinstance(record, Conversation | Completion)  # noqa: S101 - what the recipe accepts
    for exchange, answer in _exchanges(record):
        yield {"input_ids": _prompt(exchange, encoder), "labels": _answer(answer, encoder)}


def _exchanges(record: Conversation | Completion) -> Iterator[tuple[Conversation | Completion, str]]:
    """Yield each answer to learn, with the record up to it."""
    if isinstance(record, Completion):
        yield record, record.completion
        return
    for index, message in enumerate(record.messages):
        if message.role == ASSISTANT and index >= record.first_scored:
            yield Conversation(record.messages[: index + 1]), message.content


def _prompt(exchange: Conversation | Completion, encoder: Encoder) -> list[int]:
    if isinstance(exchange, Conversation) and encoder.tokenizer.chat_template:
        return prompt_ids(exchange, encoder.tokenizer)
    return list(encoder.tokenizer(shown_prompt(exchange), verbose=False)["input_ids"])


def _answer(answer: str, encoder: Encoder) -> list[int]:
    ids = list(encoder.tokenizer(text_target=answer, verbose=False)["input_ids"])
    end = encoder.tokenizer.eos_token_id
    return ids if ids and ids[-1] == end else [*ids, end]


def length(row: Row) -> int:
    """Return the longer one of prompt and answer: each has `maxLength` tokens to itself."""
    return max(len(row["input_ids"]), len(row["labels"]))


def make_trainer(setup: Setup) -> HeadTrainer:
    """Return a Trainer on the mean cross entropy over the answers' tokens."""
    return HeadTrainer(setup, DataCollatorForSeq2Seq(setup.tokenizer, model=setup.model), token_losses(setup))


SFT = Recipe(
    task="seq2seq-lm",
    method="sft",
    accepts=(Conversation, Completion, Question),
    encode=encode,
    trainer=make_trainer,
    length=length,
)
