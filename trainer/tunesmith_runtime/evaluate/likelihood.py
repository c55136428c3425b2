"""How likely a model finds texts."""

import inspect
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


@dataclass(frozen=True)
class Reading:
    """How texts are read: in windows of at most `max_length` tokens, each `stride` after the one before it.

    By default `stride` is half of `max_length`. With `from_nothing` the first token of a text is scored too: as what
    comes after the token that begins a text, or else ends one.
    """

    max_length: int
    stride: int | None = None
    from_nothing: bool = False


def likelihoods(
    subject: LocalModel, records: Sequence[Record], reading: Reading, progress: Progress
) -> list[Likelihood]:
    """Return how likely a model finds each record, read in windows no longer than it can read.

    What is known is not measured again. `progress` is called with the number of records that are finished.
    """
    length = min(reading.max_length, subject.limit or reading.max_length)
    stride = min(reading.stride or length // 2, length - 1)
    scored = _from_nothing if reading.from_nothing else _scored
    tokens = [scored(record, subject.tokenizer) for record in records]
    keys = [subject.known.key("likelihood", each.input_ids, each.labels, length, stride) for each in tokens]
    left = list({key: each for key, each in zip(keys, tokens, strict=True) if subject.known.get(key) is None}.items())
    progress(len(keys) - len(left))

    def finished(index: int, found: Likelihood) -> None:
        subject.known.add({left[index][0]: {"nll": found.nll, "tokens": found.tokens}})
        progress(1)

    score(subject, [each for _, each in left], length, finished, stride)
    return [_known(subject, key) for key in keys]


def _known(subject: LocalModel, key: str) -> Likelihood:
    entry = subject.known.get(key)
    assert entry is not None  # noqa: S101 - all that was unknown has just been measured
    return Likelihood(float(entry["nll"]), int(entry["tokens"]))


def windows(record: int, tokens: Tokens, max_length: int, stride: int | None = None) -> Iterator[Window]:
    """Yield pieces of at most `max_length` tokens in which every labelled token but the first is scored just once.

    A piece starts `stride` tokens after the one before it, so that a token of a long record is predicted from at least
    `max_length` - `stride` tokens (Hugging Face, Perplexity of fixed-length models); by default that is half of them.
    It is less than `max_length`. Pieces that score nothing are left out.
    """
    size = len(tokens.input_ids)
    scored_upto = 1
    for start in range(0, size, stride or max(max_length // 2, 1)):
        end = min(start + max_length, size)
        labels = [IGNORED] * (scored_upto - start) + tokens.labels[scored_upto:end]
        if any(label != IGNORED for label in labels):
            yield Window(record, Tokens(tokens.input_ids[start:end], labels))
        scored_upto = end
        if end == size:
            return


@torch.no_grad()  # not inference_mode: a model that is being trained may keep what it makes here
def score(
    subject: LocalModel,
    tokens: Sequence[Tokens],
    max_length: int,
    finished: Callable[[int, Likelihood], None],
    stride: int | None = None,
) -> None:
    """Measure the likelihood of each record's labelled tokens; the first token of a record is never scored.

    `finished` is called with the index of each record once it is, and its likelihood.
    """
    pieces = [window for index, each in enumerate(tokens) for window in windows(index, each, max_length, stride)]
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


def _from_nothing(record: Record, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Return the tokens of a whole text behind the one that begins it."""
    assert isinstance(record, PlainText)  # noqa: S101 - the spec's own check
    begins = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    ids = list(tokenizer(record.text, add_special_tokens=False, verbose=False)["input_ids"])
    return Tokens([begins, *ids], [IGNORED, *ids])
