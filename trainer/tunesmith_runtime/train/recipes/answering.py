"""Models that find the answer to a question in a text: where it begins, and where it ends.

Texts are read through windows that overlap, as in the SQuAD experiments of BERT (Devlin et al. 2019,
https://arxiv.org/abs/1810.04805). That a window holds no answer is said by pointing at its first token, [CLS].
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.data.data_collator import pad_without_fast_tokenizer_warning

from tunesmith_runtime.data.records import Answer, Question, Record
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.train.recipes.heads import HeadTrainer, check_unsmoothed, cross_entropy
from tunesmith_runtime.train.recipes.offsets import check_offsets
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Row, Setup

LONGEST_ANSWER = 30


@dataclass(frozen=True)
class _Window:
    """A question and a part of its context: what the model reads, and where each token stands in the context.

    `first` is the index of the context's first token, `none` that of the token which stands for no answer.
    """

    inputs: Row
    offsets: list[tuple[int, int]]
    first: int
    none: int


def encode(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield a row for each window over the context, whose `labels` are the first and the last token of the answer.

    The first answer is learnt; a window that does not hold the whole of it has none. A question that leaves no room
    for its context is one row, longer than `max_length`. Raises DataError when the answer does not stand where it
    should, ModelError when the tokenizer has no offsets.
    """
    assert isinstance(record, Question)  # noqa: S101 - what the recipe accepts
    span = _span(record, record.answers[0]) if record.answers else None
    for window in _windows(encoder.tokenizer, record.question, record.context, encoder.max_length):
        yield {**window.inputs, "labels": _target(window, span)}


def _span(record: Question, answer: Answer) -> tuple[int, int] | None:
    """Return the answer's first character in the context and the one behind its last; None when it is blank."""
    if record.context[answer.start : answer.start + len(answer.text)] != answer.text:
        raise DataError(
            f"question {record.id}: the answer {answer.text!r} does not stand at character {answer.start} of the "
            "context; correct answer_start"
        )
    start = answer.start + len(answer.text) - len(answer.text.lstrip())
    return (start, start + len(answer.text.strip())) if answer.text.strip() else None


def _target(window: _Window, span: tuple[int, int] | None) -> list[int]:
    """Return the first and the last token that share a character with the answer."""
    if span is None or not window.offsets or window.offsets[0][0] > span[0] or window.offsets[-1][1] < span[1]:
        return [window.none, window.none]
    inside = [
        token
        for token, (start, end) in enumerate(window.offsets, window.first)
        if start < span[1] and end > span[0] and start < end
    ]
    return [inside[0], inside[-1]] if inside else [window.none, window.none]


def _windows(tokenizer: PreTrainedTokenizerBase, question: str, context: str, max_length: int) -> list[_Window]:
    """Return windows that overlap by a quarter of `max_length`; one too long when the question leaves no room."""
    check_offsets(tokenizer)
    asked = len(tokenizer(question, add_special_tokens=False, verbose=False)["input_ids"])
    room = max_length - asked - tokenizer.num_special_tokens_to_add(pair=True)
    cut: dict[str, Any] = {}
    if room > 0:
        overlap = min(max_length // 4, room // 2)
        cut = {"truncation": "only_second", "max_length": max_length, "stride": overlap}
    encoded = tokenizer(
        question,
        context,
        **cut,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    read = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    windows = []
    for index, ids in enumerate(encoded["input_ids"]):
        tokens = [token for token, part in enumerate(encoded.sequence_ids(index)) if part == 1]
        offsets = [encoded["offset_mapping"][index][token] for token in tokens]
        none = ids.index(tokenizer.cls_token_id) if tokenizer.cls_token_id in ids else 0
        windows.append(
            _Window({name: encoded[name][index] for name in read}, offsets, tokens[0] if tokens else 0, none)
        )
    return windows


@torch.no_grad()
def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    context: str,
    max_length: int,
    *,
    null_threshold: float | None = 0.0,
    longest_answer: int = LONGEST_ANSWER,
    batch_size: int = 8,
) -> str:
    """Return the part of the context, of at most `longest_answer` tokens, that the model takes for the answer.

    A span's score is the sum of the logits of its first and its last token. The answer is empty when the score of no
    answer, the lowest of all windows, is above the best span's by more than `null_threshold`; None always answers.
    Raises DataError when the question alone takes `max_length` tokens.
    """
    windows = _windows(tokenizer, question, context, max_length)
    if len(windows[0].inputs["input_ids"]) > max_length:
        raise DataError(
            f"the question {question[:80]!r} leaves no room for its context in {max_length} tokens; shorten it or "
            "raise maxLength"
        )
    was_training = model.training
    model.eval()
    try:
        scored = [
            scores
            for start in range(0, len(windows), batch_size)
            for scores in _scores(model, tokenizer, windows[start : start + batch_size])
        ]
    finally:
        model.train(was_training)
    null = min(
        float(begin[window.none] + end[window.none]) for window, (begin, end) in zip(windows, scored, strict=True)
    )
    best, span = max(
        (_best(window, begin, end, longest_answer) for window, (begin, end) in zip(windows, scored, strict=True)),
        key=lambda found: found[0],
    )
    if null_threshold is not None and null - best > null_threshold:
        return ""
    return context[slice(*span)].strip()


def _scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, windows: list[_Window]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return for each window the logits of being the answer's first token and its last, each (tokens of the batch,)."""
    batch = _Pad(tokenizer)([window.inputs for window in windows])
    outputs = model(**{name: values.to(model.device) for name, values in batch.items()})
    begins, ends = _logits(outputs, batch["input_ids"].shape[1])
    return list(zip(begins.float().cpu(), ends.float().cpu(), strict=True))


def _best(window: _Window, begin: torch.Tensor, end: torch.Tensor, longest: int) -> tuple[float, tuple[int, int]]:
    """Return the score of the window's best span, and its characters in the context."""
    tokens = slice(window.first, window.first + len(window.offsets))
    begin, end = begin[tokens], end[tokens]
    best, span = float("-inf"), (0, 0)
    for more in range(min(longest, len(begin))):
        score, first = (begin[: len(begin) - more] + end[more:]).max(dim=0)
        if float(score) > best:
            best, span = float(score), (window.offsets[int(first)][0], window.offsets[int(first) + more][1])
    return best, span


@dataclass(frozen=True)
class _Pad:
    """Batches rows, padded on the right whatever the tokenizer prefers: targets count tokens from the left."""

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, rows: list[Row]) -> dict[str, torch.Tensor]:
        padded = pad_without_fast_tokenizer_warning(self.tokenizer, rows, padding_side="right", return_tensors="pt")
        return dict(padded)


def _losses(outputs: Any, labels: torch.Tensor, length: int) -> torch.Tensor:
    """Return the losses of first and last tokens, of shape (rows, 2); each is one of the `length` tokens of a row."""
    begins, ends = _logits(outputs, length)
    return cross_entropy(torch.stack([begins, ends], dim=1), labels)


def _logits(outputs: Any, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of being first and last, without those of vectors that prompt tuning puts at the left."""
    return outputs.start_logits[:, -length:], outputs.end_logits[:, -length:]


def make_trainer(setup: Setup) -> HeadTrainer:
    """Return a Trainer on the mean cross entropy over the first and the last tokens of answers.

    Raises ConfigError for label smoothing: a target is one place of many, padding among them.
    """
    check_unsmoothed(setup, "the targets of question-answering are places in a text, which cannot be smoothed")
    return HeadTrainer(setup, _Pad(setup.tokenizer), _losses)


SFT = Recipe(task="question-answering", method="sft", accepts=(Question,), encode=encode, trainer=make_trainer)
