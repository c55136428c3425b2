"""A record becomes token ids, and labels that say which of them loss counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from tunesmith_runtime.data.records import ASSISTANT, Answerable, Completion, Conversation, Message, PlainText, Record
from tunesmith_runtime.errors import ModelError

# The label of a token that loss passes over: torch's and transformers' own choice.
IGNORED = -100

_Span = tuple[int, int]


@dataclass(frozen=True)
class Tokens:
    """Two lists of one length: `labels` repeats `input_ids` where loss counts, and holds -100 elsewhere."""

    input_ids: list[int]
    labels: list[int]


def tokenize(record: Record, tokenizer: PreTrainedTokenizerBase, completion_only: bool = True) -> Tokens:
    """Return the record's tokens.

    Loss counts the assistant's turns of a conversation with the token that ends them, a completion with the
    end-of-sequence token, and the whole of a plain text; without `completion_only`, everything. A token across the
    border of prompt and completion belongs to the completion.
    Raises ModelError when the chat template cannot be split into turns or the tokenizer gives no offsets.
    """
    match record:
        case Conversation():
            tokens = _conversation(record, tokenizer)
        case Completion():
            whole = record.prompt + record.completion
            encoded = _with_end(_encode(whole, tokenizer, [(len(record.prompt), len(whole))]), tokenizer)
            tokens = encoded
        case PlainText():
            tokens = _with_end(plain_text(record, tokenizer), tokenizer)
    return tokens if completion_only else Tokens(tokens.input_ids, list(tokens.input_ids))


def plain_text(record: PlainText, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Return the tokens of the text itself, without an end-of-sequence token; loss counts all of them."""
    ids = _without_end(tokenizer(record.text, verbose=False)["input_ids"], tokenizer)
    return Tokens(ids, list(ids))


def prompt_ids(record: Answerable, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that the answer is generated from; never empty.

    Raises ModelError when the chat template refuses the conversation.
    """
    if isinstance(record, Conversation):
        prompt = _render(record.messages[:-1], tokenizer, add_generation_prompt=True)
        return list(tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])
    ids = _without_end(tokenizer(record.prompt, verbose=False)["input_ids"], tokenizer)
    start = tokenizer.bos_token_id
    return ids or [tokenizer.eos_token_id if start is None else start]


def _conversation(record: Conversation, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    whole = _render(record.messages, tokenizer)
    spans: list[_Span] = []
    for index, message in enumerate(record.messages):
        if message.role != ASSISTANT or index < record.first_scored:
            continue
        before = _render(record.messages[:index], tokenizer, add_generation_prompt=True)
        upto = _render(record.messages[: index + 1], tokenizer)
        if not upto.startswith(before) or not whole.startswith(upto):
            raise ModelError(
                f"{tokenizer.name_or_path}: the chat template cannot be split into turns at message {index + 1} "
                f"({message.role}): what it writes for a turn depends on later turns or differs from its generation "
                "prompt; use a model whose template renders turn by turn, or the format promptCompletion with strings"
            )
        spans.append((len(before), len(upto)))
    return _encode(whole, tokenizer, spans, add_special_tokens=False)


def _render(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, **options: Any) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
    except (TemplateError, IndexError, TypeError, ValueError) as error:
        roles = ", ".join(message.role for message in messages) or "none"
        raise ModelError(
            f"{tokenizer.name_or_path}: the chat template refuses a conversation with the turns {roles}: {error}"
        ) from error


def _encode(whole: str, tokenizer: PreTrainedTokenizerBase, spans: Sequence[_Span], **options: Any) -> Tokens:
    """Tokenise `whole` at once; loss counts the tokens that overlap a span of characters."""
    if not tokenizer.is_fast:
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer cannot tell where tokens stand in the text; use a model with "
            "a fast tokenizer (tokenizer.json)"
        )
    encoded = tokenizer(whole, return_offsets_mapping=True, verbose=False, **options)
    ids = list(encoded["input_ids"])
    labels = [
        token if any(start < last and end > first for first, last in spans) else IGNORED
        for token, (start, end) in zip(ids, encoded["offset_mapping"], strict=True)
    ]
    return Tokens(ids, labels)


def _with_end(tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    ids = _without_end(tokens.input_ids, tokenizer)
    end = [tokenizer.eos_token_id]
    return Tokens(ids + end, tokens.labels[: len(ids)] + end)


def _without_end(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids)
