"""Perplexity: how well a model predicts texts."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_api.suites import PerplexitySuite
from tunesmith_runtime.data.records import Completion, Conversation, PlainText, Record, shown_prompt
from tunesmith_runtime.data.tokenizing import IGNORED, Tokens, plain_text, tokenize
from tunesmith_runtime.evaluate.samples import SuiteResult, TextSample
from tunesmith_runtime.evaluate.statistics import exp_of_mean

# Characters of a text that its sample keeps.
SHOWN = 200


@dataclass(frozen=True)
class Window:
    """A piece of a record that the model reads at once; labels are -100 where another window scores the token."""

    record: int
    tokens: Tokens


@dataclass(frozen=True)
class Likelihood:
    """The sum of negative log-likelihoods, in nats, and how many tokens were scored."""

    nll: float
    tokens: int


def run(
    suite: PerplexitySuite,
    records: Sequence[Record],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_size: int,
    progress: Callable[[int], None],
) -> SuiteResult:
    """Return exp of the mean negative log-likelihood over all scored tokens of all records.

    Scored are all tokens of a text but the first, which has no context; of a conversation the assistant's turns, and
    of a completion the completion, each with the token that ends it, as in training. `maxLength`, or the model's own
    limit when that is less, is the longest window.
    """
    tokens = [_scored(record, tokenizer) for record in records]
    limit = getattr(model.config, "max_position_embeddings", None) or suite.max_length
    likelihoods = score(
        model, tokens, max_length=min(suite.max_length, limit), batch_size=batch_size, progress=progress
    )
    samples = tuple(
        TextSample(index, _start(record), each.nll, each.tokens)
        for index, (record, each) in enumerate(zip(records, likelihoods, strict=True))
    )
    summands = exp_of_mean([each.nll for each in likelihoods], [each.tokens for each in likelihoods])
    return SuiteResult({"perplexity": perplexity(likelihoods)}, samples, {"perplexity": summands})


def perplexity(likelihoods: Sequence[Likelihood]) -> float:
    """Return exp of the mean per token; infinite when that is too large for a float, NaN when nothing was scored."""
    scored = sum(each.tokens for each in likelihoods)
    if not scored:
        return math.nan
    try:
        return math.exp(math.fsum(each.nll for each in likelihoods) / scored)
    except OverflowError:
        return math.inf


def windows(record: int, tokens: Tokens, max_length: int) -> Iterator[Window]:
    """Yield pieces of at most `max_length` tokens in which every labelled token but the first is scored just once.

    A piece starts half a length after the one before it, so that a token of a long record is predicted from at least
    half of `max_length` tokens (Hugging Face, Perplexity of fixed-length models). Pieces that score nothing are left
    out.
    """
    size, stride = len(tokens.input_ids), max(max_length // 2, 1)
    scored_upto = 1
    for start in range(0, size, stride):
        end = min(start + max_length, size)
        labels = [IGNORED] * (scored_upto - start) + tokens.labels[scored_upto:end]
        if any(label != IGNORED for label in labels):
            yield Window(record, Tokens(tokens.input_ids[start:end], labels))
        scored_upto = end
        if end == size:
            return


@torch.no_grad()  # not inference_mode: a model that is being trained may keep what it makes here
def score(
    model: PreTrainedModel,
    tokens: Sequence[Tokens],
    *,
    max_length: int,
    batch_size: int,
    progress: Callable[[int], None],
) -> list[Likelihood]:
    """Return the likelihood of each record's labelled tokens; the first token of a record is never scored.

    `batch_size` windows are read at once. `progress` is called with the number of records that are finished.
    """
    pieces = [window for index, each in enumerate(tokens) for window in windows(index, each, max_length)]
    pieces.sort(key=lambda window: -len(window.tokens.input_ids))
    nll, count = [0.0] * len(tokens), [0] * len(tokens)
    left = [0] * len(tokens)
    for piece in pieces:
        left[piece.record] += 1
    progress(left.count(0))
    for start in range(0, len(pieces), batch_size):
        batch = pieces[start : start + batch_size]
        finished = 0
        for piece, losses in zip(batch, _losses(model, [piece.tokens for piece in batch]), strict=True):
            nll[piece.record] += float(losses.double().sum())
            count[piece.record] += len(losses)
            left[piece.record] -= 1
            finished += left[piece.record] == 0
        progress(finished)
    return [Likelihood(*pair) for pair in zip(nll, count, strict=True)]


def _losses(model: PreTrainedModel, batch: Sequence[Tokens]) -> Iterator[torch.Tensor]:
    """Yield, for each row, the losses of its labelled tokens in nats.

    Rows are padded on the right, where a causal model cannot see the padding.
    """
    width = max(len(row.input_ids) for row in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros(len(batch), width, dtype=torch.long)
    for index, row in enumerate(batch):
        ids[index, : len(row.input_ids)] = torch.tensor(row.input_ids)
        mask[index, : len(row.input_ids)] = 1
    logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits
    for row, row_logits in zip(batch, logits, strict=True):
        labels = torch.tensor(row.labels[1:], device=model.device)
        scored = labels != IGNORED
        yield cross_entropy(row_logits[: len(labels)][scored].float(), labels[scored], reduction="none")


def _scored(record: Record, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    return plain_text(record, tokenizer) if isinstance(record, PlainText) else tokenize(record, tokenizer)


def _start(record: Record) -> str:
    match record:
        case PlainText():
            text = record.text
        case Completion():
            text = record.prompt + record.completion
        case Conversation():
            text = f"{shown_prompt(record)}\n\n{record.messages[-1].content}"
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
