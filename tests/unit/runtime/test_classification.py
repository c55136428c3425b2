"""Texts that a model puts into classes, measured as scikit-learn measures them."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.unit.runtime.scripted import Scripted
from tests.unit.runtime.test_perplexity import by_hand
from tunesmith_api.metrics import ClassificationMetric, ClassMetric
from tunesmith_api.suites import Suite
from tunesmith_runtime.data.records import Conversation, Message
from tunesmith_runtime.data.tokenizing import IGNORED, tokenize
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.classes import (
    confusion,
    label_of,
    summands_of,
    summands_of_auc,
    summands_of_class,
)
from tunesmith_runtime.evaluate.local_model import LocalModel
from tunesmith_runtime.evaluate.measuring import Observer, measure
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.evaluate.samples import LabelSample, SuiteResult
from tunesmith_runtime.evaluate.statistics import compare, estimate
from tunesmith_runtime.evaluate.suites import read_suite
from tunesmith_runtime.storage.journal import Journal

LABELS = ("spam", "not spam", "Gruß")
ALL: tuple[ClassificationMetric, ...] = get_args(ClassificationMetric)
OF_CLASS: tuple[ClassMetric, ...] = get_args(ClassMetric)
SCORERS: dict[str, Any] = {"precision": precision_score, "recall": recall_score, "f1": f1_score}


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("spam", "spam"),
        (" SPAM!\n", "spam"),
        ("Not_spam", "not spam"),
        ("It is not spam.", "not spam"),
        ("**Spam**, spam and spam", "spam"),
        ("spam or not spam", None),
        ("ein GRUSS", "Gruß"),
        ("Begrüßung", None),
        ("antispam", None),
        ("spammer", None),
        ("ｓｐａｍ", "spam"),
        ("", None),
        ("…", None),
    ],
)
def test_an_answer_is_the_label_or_the_only_one_that_it_contains(answer: str, label: str | None) -> None:
    assert label_of(answer, LABELS) == label


def test_where_words_have_no_spaces_between_them_a_label_is_found_in_them() -> None:
    assert label_of("これは肯定です。", ("肯定", "否定")) == "肯定"
    assert label_of("肯定か否定", ("肯定", "否定")) is None


def drawn(labels: Sequence[str], texts: int, seed: int, none: float = 0.2) -> tuple[list[str], list[str | None]]:
    """Return classes and what was given, more often right than not."""
    rng = random.Random(seed)
    own = [rng.choice(labels[: 1 + seed % len(labels)]) for _ in range(texts)]
    given = [None if rng.random() < none else each if rng.random() < 0.5 else rng.choice(labels) for each in own]
    return own, given


CASES = [
    *(drawn(LABELS, texts, seed) for texts in (1, 7, 50) for seed in range(6)),
    drawn(("a", "b"), 30, 3, none=0),
    (["a", "b"], [None, None]),
    (["a", "a"], ["b", "b"]),
    (["a", "b"], ["a", "b"]),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn's, of classes that there are none of
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", CASES)
def test_every_metric_is_scikit_learns(case: tuple[list[str], list[str | None]]) -> None:
    own, given = case
    labels = LABELS if own[0] in LABELS else ("a", "b")
    said = [each or "none of them" for each in given]
    found = {name: each.value for name, each in summands_of(ALL, own, given, labels).items()}
    expected = {"accuracy": accuracy_score(own, said), "mcc": matthews_corrcoef(own, said)}
    for score, scorer in SCORERS.items():
        for average in ("micro", "macro", "weighted"):
            expected[f"{score}{average.capitalize()}"] = scorer(
                own, said, labels=labels, average=average, zero_division=0
            )
    assert found == pytest.approx(expected)
    for place, label in enumerate(labels):
        of_class = {name: each.value for name, each in summands_of_class(OF_CLASS, own, given, label).items()}
        assert of_class == pytest.approx(
            {
                name: scorer(own, said, labels=labels, average=None, zero_division=0)[place]
                for name, scorer in SCORERS.items()
            }
        )
    matrix = confusion_matrix(own, said, labels=[*labels, "none of them"])
    assert np.array_equal(confusion(own, given, labels).counts, matrix[:-1])


def test_each_metric_has_an_interval_and_a_paired_test() -> None:
    own, given = drawn(LABELS, 120, 5)
    worse: list[str | None] = [LABELS[(LABELS.index(each) + (place > 20)) % 3] for place, each in enumerate(own)]
    for name, ours in {
        **summands_of(ALL, own, given, LABELS),
        **summands_of_class(OF_CLASS, own, given, "spam"),
    }.items():
        sure = estimate(ours)
        assert sure, name
        assert sure.low < ours.value < sure.high, name
        theirs = summands_of(ALL, own, worse, LABELS) | summands_of_class(OF_CLASS, own, worse, "spam")
        same, other = compare(ours, ours), compare(ours, theirs[name])
        assert same
        assert other
        assert same.p_value == 1
        assert other.p_value < 0.05, name


def written(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file://{path}"


def suite(uri: str, **fields: Any) -> Suite:
    return Suite.model_validate({"name": "mail", "classification": {"uri": uri, "labels": LABELS, **fields}})


def rows_of(*labels: Any) -> list[dict[str, Any]]:
    return [{"text": f"Text {number}.", "label": label} for number, label in enumerate(labels)]


def test_from_a_file_to_its_metrics_and_its_matrix(tmp_path: Path) -> None:
    uri = written(tmp_path, *rows_of("spam", "spam", "not spam", "Gruß"))
    respondent = Scripted(["Spam.", "It is not spam", "not spam", "?"])
    loaded = read_suite(suite(uri, metrics=("accuracy", "f1Macro"), classMetrics=("recall", "f1")))
    seen: list[int] = []
    result = measure(respondent, [loaded], Observer(samples=seen.append))["mail"]
    assert isinstance(result, SuiteResult)
    # Neither a space nor a letter beyond ASCII stands in the name of a metric.
    assert result.metrics == pytest.approx(
        {"accuracy": 0.5, "f1Macro": (2 / 3 + 2 / 3) / 3, "spam/recall": 0.5, "spam/f1": 2 / 3}
    )
    assert set(loaded.suite.metric_names()) == {f"mail/{name}" for name in result.metrics}
    assert result.confusion is not None
    assert result.confusion.counts == ((1, 1, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1))
    assert [sample.given for sample in result.samples if isinstance(sample, LabelSample)] == [
        "spam", "not spam", "not spam", None,
    ]  # fmt: skip
    assert sum(seen) == 4
    (first, *_) = [each.messages[0].content for each in respondent.asked if isinstance(each, Conversation)]
    assert first == (
        "Put the text into one of these classes: spam, not spam, Gruß. Answer with the name of the class alone.\n\n"
        "Text: Text 0."
    )


def test_a_template_has_both_texts_and_all_fields(tmp_path: Path) -> None:
    uri = written(tmp_path, {"text": "a", "text_pair": "b", "label": "spam", "topic": "c"})
    loaded = read_suite(suite(uri, template="{{ topic }}: {{ text }} {{ textPair }} {{ labels[0] }}"))
    assert loaded.records[0].messages[0].content == "c: a b spam"
    loaded = read_suite(suite(uri))
    assert loaded.records[0].messages[0].content.endswith("Text: a\n\nSecond text: b")


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("Spam", "label is 'Spam'; it must be one of spam, not spam, Gruß"),
        (1, "label is '1'; it must be one of"),
        (0.5, "label is the number 0.5; it must be one of"),
        (["spam"], "label is a list; a text of this suite has one label"),
        ("", "label is empty"),
    ],
)
def test_a_label_that_is_none_of_them_is_told_with_its_line(tmp_path: Path, label: Any, words: str) -> None:
    with pytest.raises(DataError) as raised:
        read_suite(suite(written(tmp_path, *rows_of("spam", label))))
    assert f"line 2: {words}" in raised.value.message


def test_auc_needs_texts_of_either_label(tmp_path: Path) -> None:
    uri = written(tmp_path, *rows_of("no", "no"))
    with pytest.raises(DataError, match="all texts are labelled no, and metric auc needs some of either label"):
        read_suite(suite(uri, labels=("no", "yes"), metrics=("auc",)))


def test_auc_is_scikit_learns_of_the_labels_likelihoods(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    # The last two texts are the same, and tie.
    rows = [{"text": text, "label": label} for text, label in zip("abcdee", ["no", "yes"] * 3, strict=True)]
    loaded = read_suite(suite(written(tmp_path, *rows), labels=("no", "yes"), metrics=("auc",), template="{{ text }}?"))
    seen: list[int] = []
    subject = LocalModel(model, tokenizer, Batching(4, model.device), Answers("this"))
    result = measure(subject, [loaded], Observer(samples=seen.append))["mail"]
    assert isinstance(result, SuiteResult)
    probabilities = []
    for text in "abcdee":
        likely = []
        for label in ("no", "yes"):
            tokens = tokenize(Conversation((Message("user", f"{text}?"), Message("assistant", label))), tokenizer)
            first = next(place for place, each in enumerate(tokens.labels) if each != IGNORED)
            likely.append(np.exp(-by_hand(model, tokens.input_ids, range(first, len(tokens.input_ids)))))
        probabilities.append(likely[1] / sum(likely))
    found = [sample.probability for sample in result.samples if isinstance(sample, LabelSample)]
    assert found == pytest.approx(probabilities, rel=1e-4)
    assert result.metrics == {"auc": roc_auc_score([0, 1] * 3, np.round(probabilities, 6))}
    assert result.summands.keys() == {"auc"}
    assert result.summands["auc"].value == pytest.approx(result.metrics["auc"])
    assert sum(seen) == 6


def test_auc_is_as_sure_as_its_standard_error_says() -> None:
    draws = np.random.default_rng(3)
    positive = [number % 3 == 0 for number in range(900)]
    odds = draws.normal(size=900) + np.array(positive, dtype=float)
    found = summands_of_auc(positive, odds.tolist())
    area = roc_auc_score(positive, odds)
    assert found.value == pytest.approx(area, abs=1e-3)
    # Hanley and McNeil's formula.
    ours, theirs = sum(positive), 900 - sum(positive)
    one, both = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (ours - 1) * (one - area**2) + (theirs - 1) * (both - area**2)
    sure = estimate(found)
    assert sure is not None
    assert sure.stderr == pytest.approx(np.sqrt(spread / (ours * theirs)), rel=0.1)
    assert sure.low < area < sure.high
    # Of another scale it is the same, and without any relation to the label it is another.
    scaled, blind = (
        summands_of_auc(positive, np.exp(odds).tolist()),
        summands_of_auc(positive, draws.normal(size=900).tolist()),
    )
    same, other = compare(found, scaled), compare(found, blind)
    assert same is not None
    assert other is not None
    assert same.p_value == 1
    assert other.p_value < 0.001


def test_an_evaluation_that_was_cut_off_goes_on_without_asking_twice(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    class Gone:
        config, device, generation_config = model.config, model.device, model.generation_config

    uri = written(
        tmp_path, *[{"text": text, "label": label} for text, label in zip("abcd", ["no", "yes"] * 2, strict=True)]
    )
    loaded = read_suite(suite(uri, labels=("no", "yes"), metrics=("accuracy", "auc"), maxNewTokens=2))
    found = []
    for each in (model, Gone()):
        known = Answers("this", Journal(tmp_path / "kept.jsonl"))
        found.append(measure(LocalModel(each, tokenizer, Batching(4, model.device), known), [loaded], Observer()))
    assert found[0] == found[1]
