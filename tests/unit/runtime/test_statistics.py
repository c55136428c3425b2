"""Intervals hold what they promise, paired tests alarm no more often than their level and find what they should."""

from collections.abc import Sequence

import numpy as np
import pytest
from sacrebleu import BLEU
from sacrebleu.significance import PairedTest, Result
from scipy.stats import binomtest

from tunesmith_runtime.evaluate import statistics, text_metrics
from tunesmith_runtime.evaluate.statistics import compare, corrected, estimate, exp_of_mean, mean_of


def test_the_interval_of_a_mean_is_the_usual_one_when_there_are_many_samples() -> None:
    scores = np.random.default_rng(1).normal(0.4, 0.2, 400)
    found = estimate(mean_of(scores.tolist()))
    assert found is not None
    error = scores.std(ddof=1) / 20
    assert found.stderr == pytest.approx(error, rel=0.05)
    assert (found.low, found.high) == pytest.approx(
        (scores.mean() - 1.96 * error, scores.mean() + 1.96 * error), abs=2e-3
    )


def test_a_share_of_nothing_or_of_all_is_not_certain() -> None:
    none, every = estimate(mean_of([0.0] * 20)), estimate(mean_of([1.0] * 20))
    assert none is not None
    assert every is not None
    assert (none.low, none.high) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert (every.low, every.high) == pytest.approx((0.8389, 1.0), abs=1e-4)


def test_what_cannot_be_estimated_is_left_out() -> None:
    assert estimate(mean_of([0.5])) is None
    assert compare(mean_of([0.5]), mean_of([0.4])) is None
    assert estimate(exp_of_mean([1e6, 1.0], [1, 1])) is None
    assert compare(exp_of_mean([1e6, 1.0], [1, 1]), exp_of_mean([1.0, 1.0], [1, 1])) is None


def test_perplexity_is_estimated_over_texts_that_count_by_their_tokens() -> None:
    rng = np.random.default_rng(2)
    tokens = rng.integers(5, 60, 300)
    nll = tokens * rng.normal(2.0, 0.3, 300)
    found = estimate(exp_of_mean(nll.tolist(), tokens.tolist()))
    assert found is not None
    assert found.low < np.exp(nll.sum() / tokens.sum()) < found.high
    # The delta method: the error of a ratio of sums, times the value.
    ratio = nll.sum() / tokens.sum()
    error = np.sqrt(((nll - ratio * tokens) ** 2).sum()) / tokens.sum() * np.exp(ratio)
    assert found.stderr == pytest.approx(error, rel=0.05)


def test_shares_are_compared_by_mcnemars_exact_test() -> None:
    target = [1.0] * 12 + [0.0] * 3 + [1.0] * 40 + [0.0] * 20
    baseline = [0.0] * 12 + [1.0] * 3 + [1.0] * 40 + [0.0] * 20
    found = compare(mean_of(target), mean_of(baseline))
    assert found is not None
    assert found.p_value == binomtest(12, 15).pvalue


def test_two_that_are_one_do_not_differ() -> None:
    for scores in ([0.0, 1.0, 1.0], [0.25, 0.5, 0.9]):
        found = compare(mean_of(scores), mean_of(scores))
        assert found is not None
        assert found.p_value == 1.0
        assert found.detectable is None, "there is no spread to tell it from"


def test_bleu_is_compared_as_sacrebleu_does_it() -> None:
    rng = np.random.default_rng(3)
    words = [f"word{number}" for number in range(30)]
    wanted = [" ".join(rng.choice(words, 12)) for _ in range(40)]
    answers = {
        name: [" ".join(word if rng.random() > noise else "other" for word in text.split()) for text in wanted]
        for name, noise in (("target", 0.2), ("baseline", 0.3))
    }
    ours = {
        name: text_metrics.score(texts, [(text,) for text in wanted], ["bleu"]).summands["bleu"]
        for name, texts in answers.items()
    }
    found = compare(ours["target"], ours["baseline"])
    assert found is not None
    systems: list[tuple[str, Sequence[str]]] = [("baseline", answers["baseline"]), ("target", answers["target"])]
    _, theirs = PairedTest(systems, {"BLEU": BLEU()}, [wanted], test_type="ar", n_samples=5000)()
    result = theirs["BLEU"][1]
    assert isinstance(result, Result)
    assert result.p_value == pytest.approx(found.p_value, abs=0.02)


@pytest.mark.parametrize("kind", ["scores", "shares"])
def test_a_null_comparison_alarms_no_more_often_than_the_level(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 of them are in `make bench-eval`; a hundred here, with fewer draws."""
    monkeypatch.setattr(statistics, "DRAWS", 199)
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(100):
        skill = rng.beta(2, 2, 40)
        pair = [rng.binomial(1, skill) if kind == "shares" else rng.beta(skill * 4 + 0.1, 2) for _ in range(2)]
        found = compare(mean_of(pair[0].tolist()), mean_of(pair[1].tolist()))
        assert found is not None
        alarms += found.p_value <= statistics.LEVEL
    assert binomtest(alarms, 100, statistics.LEVEL, alternative="greater").pvalue > 0.001


def test_several_tests_are_corrected_together() -> None:
    assert corrected({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert corrected({"a": 0.7, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert corrected({}) == {}
