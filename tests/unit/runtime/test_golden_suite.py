"""A golden suite from its file to its metrics."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tests.tiny import make_tiny_bert, make_tiny_roberta, make_tiny_t5
from tests.unit.runtime.scripted import Scripted
from tunesmith_api.suites import Suite
from tunesmith_runtime.errors import ConfigError, DataError, ModelError
from tunesmith_runtime.evaluate import pattern_metrics
from tunesmith_runtime.evaluate.measuring import Observer, measure
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.evaluate.samples import SuiteResult
from tunesmith_runtime.evaluate.similarity import Encoder, similarities
from tunesmith_runtime.evaluate.suites import read_suite

TEXTS = ["The sky is blue.", "A spider has eight legs.", "Der Himmel über Köln ist blau."]


def suite(folder: Path, references: Sequence[str], **golden: Any) -> Suite:
    path = folder / "qa.jsonl"
    path.write_text("".join(json.dumps({"prompt": "?", "completion": each}) + "\n" for each in references))
    return Suite.model_validate({"name": "facts", "golden": {"uri": f"file://{path}", **golden}})


def run(folder: Path, answers: Sequence[str], references: Sequence[str], **golden: Any) -> SuiteResult:
    found = measure(Scripted(answers), [read_suite(suite(folder, references, **golden))], Observer())["facts"]
    assert isinstance(found, SuiteResult)
    return found


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("encoder"), TEXTS)


def test_the_metrics_of_form_are_given_side_by_side(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        ['{"n": 3}', '{"n": "3"}', "", "n = 3.04"],
        ['{"n": 3.0}'] * 4,
        metrics=("exactMatch", "jsonValid", "jsonSchema", "jsonMatch", "regex", "numeric"),
        jsonSchema={"properties": {"n": {"type": "number"}}},
        regex="n = ",
        numericTolerance={"absolute": 0.05},
    )
    assert result.metrics == {
        "exactMatch": 0,
        "jsonValid": 0.5,
        "jsonSchema": 0.25,
        "jsonMatch": 0.25,
        "regex": 0.25,
        "numeric": 0.75,
    }
    assert result.summands.keys() == result.metrics.keys()


def test_a_reference_that_a_metric_cannot_use_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: the reference is not JSON, with which metric jsonMatch compares"):
        read_suite(suite(tmp_path, ["1", "one"], metrics=("jsonMatch",)))
    with pytest.raises(DataError, match="line 2: the reference has no number, which metric numeric compares with"):
        read_suite(suite(tmp_path, ["1", "one"], metrics=("numeric",)))


def test_a_pattern_that_takes_forever_ends_the_run_by_the_suites_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pattern_metrics, "SECONDS", 0.05)
    with pytest.raises(ConfigError, match="suite facts: regex looked for more than"):
        run(tmp_path, ["a" * 40], ["a"], metrics=("regex",), regex=r"(?:a|aa)+\d")


def by_hand(folder: Path, text: str) -> torch.Tensor:
    """The mean of the last hidden states of one text alone."""
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder)(input_ids=ids).last_hidden_state[0]
    return states.double().mean(dim=0)


def test_similarity_is_the_cosine_with_the_nearest_reference(encoder: Path) -> None:
    pairs = [
        ("The sky", (TEXTS[0], TEXTS[1])),
        (TEXTS[1], (TEXTS[0], TEXTS[1])),
        ("Köln", (TEXTS[2],)),
        ("", (TEXTS[0],)),
    ]
    found = similarities(f"file://{encoder}", pairs, Answers("this"))
    for pair in pairs[:3]:
        answer, references = pair
        vectors = [by_hand(encoder, each) for each in references]
        best = max(float(torch.cosine_similarity(by_hand(encoder, answer), each, dim=0)) for each in vectors)
        assert found[pair] == pytest.approx(best, abs=1e-6)
    assert found[pairs[1]] == pytest.approx(1)
    assert found[pairs[3]] == 0


def test_what_is_known_is_not_encoded_again(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Answers("this")
    pairs = [("The sky", (TEXTS[0],))]
    before = similarities(f"file://{encoder}", pairs, known)
    monkeypatch.setattr(Encoder, "embed", lambda *_: pytest.fail("encoded again"))
    assert similarities(f"file://{encoder}", pairs, known) == before


def test_similarity_is_a_metric_of_the_suite(tmp_path: Path, encoder: Path) -> None:
    result = run(tmp_path, TEXTS, TEXTS, metrics=("similarity",), embeddingModel=f"file://{encoder}")
    assert result.metrics == {"similarity": pytest.approx(1)}


@pytest.mark.parametrize("make", [make_tiny_bert, make_tiny_roberta, make_tiny_t5])
def test_a_text_beyond_what_the_encoder_reads_is_cut(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make(tmp_path / "encoder", TEXTS)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": 10**30}))
    long, longer, short = Encoder(folder).embed(["sky " * 3000, "sky " * 5000, "sky"])
    assert torch.allclose(long, longer, atol=1e-6)
    assert torch.isfinite(long).all()
    assert not torch.allclose(long, short, atol=1e-3)


def test_an_encoder_that_is_not_there_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    settings = {"metrics": ("similarity",), "embeddingModel": f"file://{tmp_path}/none"}
    with pytest.raises(ModelError, match="no such folder"):
        read_suite(suite(tmp_path, ["a"], **settings))
