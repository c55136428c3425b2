"""Perplexity by words and bytes is lm-eval's own; windows and streams."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import bits_per_byte, weighted_perplexity
from lm_eval.models.huggingface import HFLM
from pydantic import ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.unit.runtime.test_perplexity import SENTENCES, by_hand
from tunesmith_api.errors import explain
from tunesmith_api.evaluation import MOST_METRICS
from tunesmith_api.suites import Suite
from tunesmith_runtime.data.records import PlainText
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.local_model import LocalModel
from tunesmith_runtime.evaluate.measuring import Observer, measure, measure_model
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.evaluate.samples import LoadedSuite, SuiteResult, TextSample
from tunesmith_runtime.evaluate.suites import read_suite
from tunesmith_runtime.storage.journal import Journal

TEXTS = [*SENTENCES, "  two  spaces\nand a line \n", "Über Köln: 東京 🕷", "x" * 96]
BY_TEXT = ("wordPerplexity", "bytePerplexity", "bitsPerByte")


def suite(uri: str = "file:///texts.jsonl", **fields: Any) -> Suite:
    return Suite.model_validate({"name": "texts", "perplexity": {"uri": uri, **fields}})


def run(subject: LocalModel, loaded: LoadedSuite) -> SuiteResult:
    found = measure(subject, [loaded], Observer())["texts"]
    assert isinstance(found, SuiteResult)
    return found


def of_texts(subject: LocalModel, *texts: str, **fields: Any) -> SuiteResult:
    return run(subject, LoadedSuite(suite(**fields), tuple(map(PlainText, texts))))


@pytest.fixture
def subject(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LocalModel:
    return LocalModel(model, tokenizer, Batching(3, model.device), Answers("this"))


def rolling(subject: LocalModel, texts: list[str], max_length: int) -> list[float]:
    """Return lm-eval's own rolling log-likelihoods of texts."""
    theirs = HFLM(
        pretrained=subject.model, tokenizer=subject.tokenizer, max_length=max_length, add_bos_token=False, batch_size=1
    )
    asked = [Instance("loglikelihood_rolling", {}, (text,), index) for index, text in enumerate(texts)]
    return theirs.loglikelihood_rolling(asked, disable_tqdm=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("length", [128, 16])
def test_they_are_lm_evals(subject: LocalModel, length: int) -> None:
    sizes = {text: len(subject.tokenizer(text).input_ids) for text in TEXTS}
    # It fills a text's last window up with tokens of the one before, and all others with one: here all are full.
    texts = [text for text, size in sizes.items() if size <= length or size % length == 0]
    assert min(sizes[text] for text in texts) < length
    found = rolling(subject, texts, length)
    by_word = [(each, len(re.split(r"\s+", text))) for each, text in zip(found, texts, strict=True)]
    by_byte = [(each, len(text.encode())) for each, text in zip(found, texts, strict=True)]
    # It does not count that one token as part of the length.
    result = of_texts(subject, *texts, metrics=BY_TEXT, maxLength=length + 1, stride=length)
    assert result.metrics == pytest.approx(
        {
            "wordPerplexity": weighted_perplexity(by_word),
            "bytePerplexity": weighted_perplexity(by_byte),
            "bitsPerByte": bits_per_byte(by_byte),
        },
        rel=1e-4,
    )
    for sample, theirs in zip(result.samples, found, strict=True):
        assert isinstance(sample, TextSample)
        assert sample.nll == pytest.approx(-theirs, rel=1e-4)
    assert sizes["x" * 96] == 96


def test_perplexity_beside_them_is_what_it_is_alone(subject: LocalModel) -> None:
    both = of_texts(subject, *TEXTS, metrics=("bitsPerByte", "perplexity"))
    assert both.metrics["perplexity"] == pytest.approx(of_texts(subject, *TEXTS).metrics["perplexity"])
    assert both.metrics["bitsPerByte"] == pytest.approx(
        of_texts(subject, *TEXTS, metrics=("bitsPerByte",)).metrics["bitsPerByte"]
    )


def test_a_smaller_stride_predicts_each_token_from_more(subject: LocalModel) -> None:
    ids = subject.tokenizer(SENTENCES[1] * 2).input_ids[:20]
    text = subject.tokenizer.decode(ids)
    assert subject.tokenizer(text).input_ids == ids
    (sample,) = of_texts(subject, text, maxLength=8, stride=1).samples
    by_windows = by_hand(subject.model, ids[:8], range(1, 8))
    by_windows += sum(by_hand(subject.model, ids[start : start + 8], range(7, 8)) for start in range(1, 13))
    assert isinstance(sample, TextSample)
    assert sample.tokens == 19
    assert sample.nll == pytest.approx(by_windows, rel=1e-5)
    (coarse,) = of_texts(subject, text, maxLength=8, stride=7).samples
    assert isinstance(coarse, TextSample)
    assert coarse.tokens == 19
    assert coarse.nll != sample.nll


def test_a_stride_beyond_what_the_model_can_read_leaves_no_token_out(subject: LocalModel) -> None:
    (sample,) = of_texts(subject, "x" * 600, maxLength=4096, stride=4000).samples
    assert isinstance(sample, TextSample)
    assert sample.tokens == 599


def written(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file://{path}"


def test_each_stream_has_its_own_metrics(tmp_path: Path, subject: LocalModel) -> None:
    rows = [{"text": text, "source": source} for text, source in zip(SENTENCES, ["web", "books", "web"], strict=True)]
    loaded = read_suite(suite(written(tmp_path, *rows), groupBy="source", metrics=("perplexity", "bitsPerByte")))
    result = run(subject, loaded)
    assert result.metrics.keys() == {
        "perplexity", "bitsPerByte", "web/perplexity", "web/bitsPerByte", "books/perplexity", "books/bitsPerByte",
    }  # fmt: skip
    for stream, texts in {"web/": SENTENCES[::2], "books/": SENTENCES[1:2], "": SENTENCES}.items():
        alone = of_texts(subject, *texts, metrics=("perplexity", "bitsPerByte"))
        for metric, value in alone.metrics.items():
            assert result.metrics[f"{stream}{metric}"] == pytest.approx(value)
            assert len(result.summands[f"{stream}{metric}"].rows) == len(texts)


def test_of_a_checkpoint_there_are_as_many_streams_as_its_status_has_room_for(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = [{"text": f"Text {number}", "source": number} for number in range(32)]
    metrics = ("perplexity", "bitsPerByte")
    loaded = read_suite(suite(written(tmp_path, *rows), groupBy="source", metrics=metrics))
    found = measure_model(model, tokenizer, [loaded], batch_size=8)
    assert len(found) == MOST_METRICS - 1
    assert {"texts/perplexity", "texts/bitsPerByte", "texts/0/perplexity"} <= found.keys()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({}, "source is missing, which groupBy names; there is text"),
        ({"source": None}, "source is null; groupBy takes a string or a whole number"),
        ({"source": 1.5}, "source is the number 1.5; groupBy takes"),
        ({"source": "a b"}, "source is 'a b', which cannot stand in a metric's name"),
        ({"source": ""}, "source is '', which cannot"),
        ({"source": "x" * 64}, "which cannot stand in a metric's name; write up to 63 ASCII letters"),
    ],
)
def test_a_stream_without_a_name_is_told_with_its_line(tmp_path: Path, source: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as raised:
        read_suite(suite(written(tmp_path, {"text": "a", "source": 7}, {"text": "b", **source}), groupBy="source"))
    assert "line 2: " in raised.value.message
    assert words in raised.value.message


def test_too_many_streams_are_refused(tmp_path: Path) -> None:
    rows = [{"text": "a", "source": number} for number in range(33)]
    assert len(set(read_suite(suite(written(tmp_path, *rows[:32]), groupBy="source")).groups)) == 32
    with pytest.raises(DataError, match="source has 33 values, and groupBy takes 32"):
        read_suite(suite(written(tmp_path, *rows), groupBy="source"))


def test_what_is_known_is_not_read_again(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    class NoModel:
        config, device = model.config, model.device

    journal = Journal(tmp_path / "answers.jsonl")
    before = of_texts(LocalModel(model, tokenizer, Batching(3, model.device), Answers("m", journal)), *SENTENCES)
    known = Answers("m", Journal(tmp_path / "answers.jsonl"))
    assert of_texts(LocalModel(NoModel(), tokenizer, Batching(3, model.device), known), *SENTENCES) == before


def refused(**fields: Any) -> str:
    with pytest.raises(ValidationError) as error:
        suite(**fields)
    (sentence,) = explain(error.value)
    return sentence


def test_what_does_not_go_together_is_refused() -> None:
    assert suite(maxLength=8, stride=7).kind
    assert "stride is 8 and maxLength 8: tokens between two windows would be left out" in refused(maxLength=8, stride=8)
    assert "perplexity: metrics names a metric twice" in refused(metrics=("perplexity", "perplexity"))
    assert "bitsPerByte counts all of a text, and of format messages only a part is scored" in refused(
        format="messages", metrics=("perplexity", "bitsPerByte")
    )


def test_streams_are_known_as_metrics_that_there_may_be() -> None:
    one = suite(groupBy="source", metrics=("perplexity",))
    assert one.metric_names() == ("texts/perplexity",)
    assert one.may_give("texts/web.2/perplexity")
    for other in ("texts/web/bitsPerByte", "texts/a b/perplexity", "else/web/perplexity", "texts//perplexity"):
        assert not one.may_give(other)
    assert not suite().may_give("texts/web/perplexity")
