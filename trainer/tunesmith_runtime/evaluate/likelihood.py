"""How likely a model finds texts."""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.data.records import PlainText, Record
from tunesmith_runtime.data.tokenizing import IGNORED, Tokens, plain_text, tokenize
from tunesmith_runtime.evaluate.local_model import LocalModel
from tunesmith_runtime.evaluate.respondent import Progress


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


def likelihoods(
    subject: LocalModel, records: Sequence[Record], max_length: int, progress: Progress
) -> list[Likelihood]:
    """Return how likely a model finds each record, read in windows of at most `max_length` tokens.

    What is known is not measured again. `progress` is called with the number of records that are finished.
    """
    length = min(max_length, subject.limit or max_length)
    tokens = [_scored(record, subject.tokenizer) for record in records]
    keys = [subject.known.key("likelihood", each.input_ids, each.labels, length) for each in tokens]
    left = list({key: each for key, each in zip(keys, tokens, strict=True) if subject.known.get(key) is None}.items())
    progress(len(keys) - len(left))

    def finished(index: int, found: Likelihood) -> None:
        subject.known.add({left[index][0]: {"nll": found.nll, "tokens": found.tokens}})
        progress(1)

    score(subject, [each for _, each in left], length, finished)
    return [_known(subject, key) for key in keys]


def _known(subject: LocalModel, key: str) -> Likelihood:
    entry = subject.known.get(key)
    assert entry is not None  # noqa: S101 - all that was unknown has just been measured
    return Likelihood(float(entry["nll"]), int(entry["tokens"]))


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
    subject: LocalModel, tokens: Sequence[Tokens], max_length: int, finished: Callable[[int, Likelihood], None]
) -> None:
    """Measure the likelihood of each record's labelled tokens; the first token of a record is never scored.

    `finished` is called with the index of each record once it is, and its likelihood.
    """
    pieces = [window for index, each in enumerate(tokens) for window in windows(index, each, max_length)]
    nll, count = [0.0] * len(tokens), [0] * len(tokens)
    left = [0] * len(tokens)
    for piece in pieces:
        left[piece.record] += 1
    for record, missing in enumerate(left):
        if not missing:
            finished(record, Likelihood(0.0, 0))

    def work(batch: list[int]) -> None:
        losses = [*_losses(subject.model, [pieces[index].tokens for index in batch])]
        for index, each in zip(batch, losses, strict=True):
            record = pieces[index].record
            nll[record] += float(each.double().sum())
            count[record] += len(each)
            left[record] -= 1
            if not left[record]:
                finished(record, Likelihood(nll[record], count[record]))

    subject.batching.run([len(piece.tokens.input_ids) for piece in pieces], work)


def _losses(model: PreTrainedModel, batch: Sequence[Tokens]) -> Iterator[torch.Tensor]:
    """Yield, for each row, the losses of its labelled tokens in nats."""
    places = [[place for place, label in enumerate(row.labels[1:]) if label != IGNORED] for row in batch]
    # The last token is only predicted.
    rows = [row.input_ids[:-1] for row in batch]
    for row, scored, logits in zip(batch, places, scored_logits(model, rows, places), strict=True):
        labels = torch.tensor([row.labels[place + 1] for place in scored], device=logits.device)
        yield token_losses(logits, labels)


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return -log p of each label in nats.

    torch's cross_entropy writes out all log-probabilities first, which are as many numbers as the logits.
    """
    logits = logits.float()
    return logits.logsumexp(dim=-1) - logits.gather(-1, labels[:, None])[:, 0]


def scored_logits(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]
) -> Iterator[torch.Tensor]:
    """Yield the logits of each row of tokens (at least one) at its `places`, as a tensor (places, vocabulary).

    Rows are padded on the right, where a causal model cannot see the padding. Only where some row is scored do models
    compute logits, which are most of the work of a small model with a large vocabulary.
    """
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    kept = sorted({place for each in places for place in each})
    options: dict[str, Any] = {"use_cache": False}
    if len(kept) < width and _keeps_logits(model):
        options["logits_to_keep"] = torch.tensor(kept, device=model.device)
    else:
        kept = list(range(width))
    where = {place: index for index, place in enumerate(kept)}
    logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), **options).logits
    # With virtual tokens before it, as of a soft prompt, a row has more places than tokens.
    logits = logits[:, logits.shape[1] - len(kept) :]
    for row_logits, each in zip(logits, places, strict=True):
        yield row_logits[_slice([where[place] for place in each])]


def _slice(places: list[int]) -> slice | list[int]:
    """Return places that follow each other as a slice, which copies nothing."""
    if not places or places != list(range(places[0], places[0] + len(places))):
        return places
    return slice(places[0], places[-1] + 1)


def _keeps_logits(model: PreTrainedModel) -> bool:
    """Return whether the model can be told where to compute logits."""
    if isinstance(model, PeftModel):
        if model.active_peft_config.is_prompt_learning:  # it counts places from its own virtual tokens on
            return False
        model = model.get_base_model()
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def _scored(record: Record, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    return plain_text(record, tokenizer) if isinstance(record, PlainText) else tokenize(record, tokenizer)
