"""Toxicity is what a classifier or a list of words says of answers, and of the worst of several."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
)

from tests.tiny import make_tiny_tokenizer
from tunesmith_api.suites import EvalSuite
from tunesmith_runtime.data.records import Answerable, shown_prompt
from tunesmith_runtime.errors import ConfigError, DataError, ModelError
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress
from tunesmith_runtime.evaluate.safety import classifier
from tunesmith_runtime.evaluate.safety.word_lists import WordList
from tunesmith_runtime.evaluate.samples import AnswerSample, SuiteResult
from tunesmith_runtime.evaluate.suites import read_suite, safety
from tunesmith_runtime.storage import journal

LABELS = ("fine", "rude", "threat")


@dataclass
class Drawing:
    """Gives the answers of each seed to each prompt."""

    answers: Mapping[str, Sequence[str]]
    known: Answers = field(default_factory=lambda: Answers("this"))
    drawn: list[Generation] = field(default_factory=list)

    def answer(self, records: Sequence[Answerable], generation: Generation, progress: Progress) -> list[str]:
        self.drawn.append(generation)
        progress(len(records))
        return [self.answers[shown_prompt(record)][generation.seed] for record in records]


def write(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return f"file://{path}"


def suite(**toxicity: Any) -> EvalSuite:
    return EvalSuite.model_validate_json(json.dumps({"name": "safe", "safety": {"toxicity": toxicity}}))


def run(respondent: Drawing, **toxicity: Any) -> SuiteResult:
    prompts = list(respondent.answers)
    loaded = read_suite(suite(prompts=prompts, **toxicity))
    done: list[int] = []
    result = safety.run(loaded, respondent, done.append)
    assert sum(done) == len(loaded.records)
    return result


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("You are a DAMN fool", True),
        ("damnation", False),
        ("a damn.", True),
        ("a_damn", False),
        ("damn2", False),
        ("ＤＡＭＮ it", True),
        ("go\n to  hell now", True),
        ("go to hello", False),
        ("Scheißegal", False),
        ("so ein SCHEISS!", True),
        ("你是混蛋吗", True),
        ("bad日本", True),
        ("off the $cale", True),
        ("dogs of war", True),
        ("dogs offer", False),
        ("bad dog", True),
        ("", False),
    ],
)
def test_words_are_found_as_words(text: str, found: bool) -> None:
    words = WordList(frozenset({"damn", "Go to hell", "scheiß", "混蛋", "bad", "bad dog", "$cale", "dogs of"}))
    assert words.score(text) == float(found)


def test_the_share_of_answers_with_a_word_and_the_worst_of_each_prompt(tmp_path: Path) -> None:
    lists = [write(tmp_path / "one.txt", "damn", ""), write(tmp_path / "two.txt", "\ufeffgo to hell")]
    answers = {
        "a": ["fine", "damn it", "go to hell", ""],
        "b": ["fine", "fine", "fine", "fine"],
        "ç": ["damn", "damn", "damn", "damn"],
    }
    respondent = Drawing(answers)
    result = run(respondent, wordLists=lists, samples=4, temperature=0.8)
    assert result.metrics == {"toxicity": pytest.approx((2 / 4 + 0 + 1) / 3), "maxToxicity": pytest.approx(2 / 3)}
    assert [(each.temperature, each.seed) for each in respondent.drawn] == [(0.8, seed) for seed in range(4)]
    first = result.samples[0]
    assert isinstance(first, AnswerSample)
    assert (first.prompt, first.answer, first.scores) == ("a", "damn it", {"toxicity": 0.5, "maxToxicity": 1.0})


def test_one_answer_each_is_drawn_greedily(tmp_path: Path) -> None:
    respondent = Drawing({"a": ["damn"], "b": ["fine"]})
    result = run(respondent, wordLists=[write(tmp_path / "one.txt", "damn")])
    assert result.metrics == {"toxicity": 0.5}
    assert respondent.drawn == [Generation(64)]


def test_prompts_come_from_a_file(tmp_path: Path) -> None:
    uri = write(tmp_path / "ask.jsonl", *(json.dumps({"text": text}) for text in ("a", " ", "b")))
    loaded = read_suite(suite(uri=uri, wordLists=[write(tmp_path / "one.txt", "damn")], samples=3, temperature=1.0))
    assert (len(loaded.records), loaded.empty) == (6, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"words\.txt is not there; wordLists names text files"),
        (b" \n\n", r"words\.txt holds no words; write a word or phrase to a line"),
        (b"\xff\xfe", r"words\.txt cannot be read as a list of words: .*; write it as text in UTF-8"),
    ],
)
def test_a_list_without_words_is_told(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_suite(suite(prompts=["a"], wordLists=[f"file://{path}"]))


def make_classifier(path: Path, **settings: Any) -> Path:
    make_tiny_tokenizer(["you are a fool and a knave, my friend", "what a fine day"] * 4).save_pretrained(path)
    config = BertConfig(
        vocab_size=512,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        initializer_range=0.5,
        **settings,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def exclusive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("models") / "exclusive")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("models") / "several", problem_type="multi_label_classification")


TEXTS = ["you fool", "what a fine day, my friend", "Ärger 混蛋", "knave " * 60]


@torch.no_grad()
def logits(path: Path, text: str) -> torch.Tensor:
    """Ask transformers itself, one text at a time."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=32)
    return model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask).logits[0]


def test_a_classifiers_probabilities_are_those_of_transformers(exclusive: Path, several: Path) -> None:
    by_softmax = [float(logits(exclusive, text).softmax(-1)[1:].sum()) for text in TEXTS]
    found = classifier.toxicities(f"file://{exclusive}", ("threat", "rude"), [*TEXTS, ""], Answers("this"))
    assert found == pytest.approx([*by_softmax, 0.0], abs=1e-6)
    assert len({round(each, 3) for each in by_softmax}) > 1

    by_sigmoid = [float(logits(several, text).sigmoid()[1:].max()) for text in TEXTS]
    found = classifier.toxicities(f"file://{several}", ("rude", "threat"), TEXTS, Answers("this"))
    assert found == pytest.approx(by_sigmoid, abs=1e-6)


def test_the_suite_takes_the_mean_and_the_worst(exclusive: Path) -> None:
    respondent = Drawing({"a": [TEXTS[0], TEXTS[1]], "b": [TEXTS[2], ""]})
    uri = f"file://{exclusive}"
    result = run(respondent, classifier=uri, toxicLabels=["rude"], samples=2, temperature=1.0)
    one, two, three = (float(logits(exclusive, text).softmax(-1)[1]) for text in TEXTS[:3])
    assert result.metrics["toxicity"] == pytest.approx((one + two + three + 0) / 4, abs=1e-6)
    assert result.metrics["maxToxicity"] == pytest.approx((max(one, two) + three) / 2, abs=1e-6)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[journal.Journal]:
    with journal.opened(f"file://{tmp_path}/kept", "answers.jsonl") as opened:
        yield opened


def test_what_was_judged_is_not_judged_again(
    exclusive: Path, kept: journal.Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"file://{exclusive}"
    once = classifier.toxicities(uri, ("rude",), TEXTS[:2], Answers("this", kept))
    other = classifier.toxicities(uri, ("threat",), TEXTS[:2], Answers("this", kept))
    assert other != once

    def gone(*_: Any) -> None:
        raise AssertionError("the classifier is loaded again")

    monkeypatch.setattr(classifier, "load_model", gone)
    assert classifier.toxicities(uri, ("rude",), TEXTS[:2], Answers("this", kept)) == once
    with pytest.raises(AssertionError):
        classifier.toxicities(uri, ("rude",), TEXTS, Answers("this", kept))


def test_labels_that_the_classifier_lacks_are_told_before_anything_is_asked(exclusive: Path, several: Path) -> None:
    with pytest.raises(ConfigError, match=r"toxicLabels has toxic, and the classifier .* has fine, rude, threat;"):
        read_suite(suite(prompts=["a"], classifier=f"file://{exclusive}", toxicLabels=["toxic", "rude"]))
    with pytest.raises(ConfigError, match=r"names all labels of the classifier .*, whose probabilities add up to 1"):
        read_suite(suite(prompts=["a"], classifier=f"file://{exclusive}", toxicLabels=list(LABELS)))
    assert read_suite(suite(prompts=["a"], classifier=f"file://{several}", toxicLabels=list(LABELS))).records


def test_a_model_that_is_no_classifier_is_told(tiny_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no classifier: its config\.json names no architecture that ends in"):
        read_suite(suite(prompts=["a"], classifier=f"file://{tiny_path}", toxicLabels=["toxic"]))
    with pytest.raises(ModelError, match="nowhere"):
        read_suite(suite(prompts=["a"], classifier="file:///nowhere", toxicLabels=["toxic"]))
