"""Perplexity equals what one gets by hand from the model's log-likelihoods."""

import math
from pathlib import Path

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.tiny import MAX_POSITIONS
from tunesmith_api.suites import PerplexitySuite, Suite
from tunesmith_runtime.data.records import Completion, Conversation, Message, PlainText, Record
from tunesmith_runtime.data.tokenizing import IGNORED, Tokens, tokenize
from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.likelihood import Likelihood, score, windows
from tunesmith_runtime.evaluate.local_model import LocalModel
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.evaluate.samples import LoadedSuite, SuiteResult, TextSample
from tunesmith_runtime.evaluate.suites import perplexity as perplexity_suite
from tunesmith_runtime.models.loading import load_causal_lm

SENTENCES = ["The moon goes round the earth.", "A spider has eight legs, and the sky is blue today.", "Sky"]


@torch.no_grad()
def by_hand(model: PreTrainedModel, ids: list[int], scored: range) -> float:
    """Add up -log p(token | all tokens before it), one token at a time."""
    total = 0.0
    for position in scored:
        logits = model(input_ids=torch.tensor([ids[:position]])).logits[0, -1]
        total -= float(torch.log_softmax(logits.double(), -1)[ids[position]])
    return total


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *records: Record, max_length: int = 64, batch: int = 8
) -> SuiteResult:
    return perplexity_suite.run(texts(records, max_length), subject(model, tokenizer, batch), lambda _: None)


def subject(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: int) -> LocalModel:
    return LocalModel(model, tokenizer, Batching(batch, model.device), Answers("this"))


def texts(records: tuple[Record, ...], max_length: int) -> LoadedSuite:
    suite = Suite(name="texts", perplexity=PerplexitySuite(uri="file:///texts.jsonl", max_length=max_length))
    return LoadedSuite(suite, records)


def test_it_is_exp_of_the_mean_over_all_tokens_but_each_first(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    result = measure(model, tokenizer, *map(PlainText, SENTENCES))
    all_ids = [tokenizer(text).input_ids for text in SENTENCES]
    nlls = [by_hand(model, ids, range(1, len(ids))) for ids in all_ids]
    scored = [len(ids) - 1 for ids in all_ids]
    for sample, nll, tokens in zip(result.samples, nlls, scored, strict=True):
        assert isinstance(sample, TextSample)
        assert sample.tokens == tokens
        assert sample.nll == pytest.approx(nll, rel=1e-5)
    assert result.metrics["perplexity"] == pytest.approx(math.exp(sum(nlls) / sum(scored)), rel=1e-5)


def test_batches_and_their_padding_change_nothing(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    records = [PlainText(text) for text in SENTENCES * 2]
    alone, together = (measure(model, tokenizer, *records, batch=batch) for batch in (1, 4))
    for one, other in zip(alone.samples, together.samples, strict=True):
        assert isinstance(one, TextSample)
        assert isinstance(other, TextSample)
        assert (one.index, one.tokens) == (other.index, other.tokens)
        assert one.nll == pytest.approx(other.nll, rel=1e-5)


def test_a_long_text_is_scored_in_windows_each_token_once(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ids = tokenizer(" ".join(SENTENCES)).input_ids[:21]
    length, nll = 8, 0.0
    nll += by_hand(model, ids[0:8], range(1, 8))
    for start in (4, 8, 12):
        nll += by_hand(model, ids[start : start + 8], range(4, 8))
    nll += by_hand(model, ids[16:21], range(4, 5))
    found: list[Likelihood] = []
    score(subject(model, tokenizer, 3), [Tokens(ids, ids)], length, lambda _, each: found.append(each))
    (result,) = found
    assert result.tokens == len(ids) - 1
    assert result.nll == pytest.approx(nll, rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 12, 13, 100])
@pytest.mark.parametrize("max_length", [8, 9])
def test_windows_cover_every_token_once_whatever_the_length(size: int, max_length: int) -> None:
    ids = list(range(size))
    scored: list[int] = []
    for window in windows(0, Tokens(ids, ids), max_length):
        assert len(window.tokens.input_ids) <= max_length
        assert window.tokens.labels[0] == IGNORED
        scored += [label for label in window.tokens.labels if label != IGNORED]
    assert scored == ids[1:]


def test_only_the_completion_and_its_end_are_scored(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    chat = Conversation((Message("user", "What colour is the sky?"), Message("assistant", "blue")))
    for record in (Completion("The sky is", " blue"), chat):
        tokens = tokenize(record, tokenizer)
        first = next(place for place, label in enumerate(tokens.labels) if label != IGNORED)
        (sample,) = measure(model, tokenizer, record).samples
        assert isinstance(sample, TextSample)
        assert sample.tokens == len(tokens.input_ids) - first
        assert sample.nll == pytest.approx(
            by_hand(model, tokens.input_ids, range(first, len(tokens.input_ids))), rel=1e-5
        )


def test_logits_are_computed_only_where_a_token_is_scored(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Completion(" ".join(SENTENCES), " blue")
    ids = tokenize(record, tokenizer)
    scored = len([label for label in ids.labels if label != IGNORED])
    computed: list[int] = []
    head = model.lm_head.forward

    def counted(hidden: torch.Tensor) -> torch.Tensor:
        computed.append(hidden.shape[1])
        return head(hidden)

    monkeypatch.setattr(model.lm_head, "forward", counted)
    measure(model, tokenizer, record)
    assert computed == [scored]
    assert scored < len(ids.input_ids) // 4


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_virtual_tokens_are_not_taken_for_the_texts_own(tiny_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    soft = get_peft_model(load_causal_lm(tiny_path), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    soft.eval()
    ids = tokenizer(SENTENCES[0]).input_ids
    (sample, _) = measure(soft, tokenizer, PlainText(SENTENCES[0]), PlainText(SENTENCES[2])).samples
    assert isinstance(sample, TextSample)
    assert sample.nll == pytest.approx(by_hand(soft, ids, range(1, len(ids))), rel=1e-5)


def test_windows_that_hold_no_scored_token_are_not_read() -> None:
    ids = list(range(40))
    assert len(list(windows(0, Tokens(ids, [IGNORED] * 38 + ids[38:]), 8))) == 1


def test_a_window_is_never_longer_than_the_model_can_read(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    text = PlainText("x" * 600)
    limit = measure(model, tokenizer, text, max_length=MAX_POSITIONS)
    assert measure(model, tokenizer, text, max_length=2 * MAX_POSITIONS) == limit
    (sample,) = limit.samples
    assert isinstance(sample, TextSample)
    assert sample.tokens == 599


def test_progress_counts_every_record_once(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    seen: list[int] = []
    records = (PlainText("S"), *map(PlainText, SENTENCES))
    perplexity_suite.run(texts(records, 8), subject(model, tokenizer, 2), seen.append)
    assert sum(seen) == len(records)


def test_a_value_beyond_all_numbers_is_infinite_and_no_scored_token_gives_none() -> None:
    assert perplexity_suite.per_token([Likelihood(1e6, 1)]).value == math.inf
    assert math.isnan(perplexity_suite.per_token([Likelihood(0.0, 0)]).value)
    assert math.isnan(perplexity_suite.per_token([Likelihood(math.nan, 3)]).value)


def test_a_sample_keeps_the_start_of_its_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    result = measure(model, tokenizer, PlainText("long " * 100), PlainText("short"))
    long, short = (sample.text for sample in result.samples if isinstance(sample, TextSample))
    assert len(long) == 200
    assert long.endswith("…")
    assert short == "short"
