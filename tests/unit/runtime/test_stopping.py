"""When a run has learnt enough, and which of its checkpoints is the best."""

import json
import math
from pathlib import Path

import pytest

from tunesmith_api.evaluation import EarlyStopping
from tunesmith_runtime.train.ledger import LEDGER, Ledger
from tunesmith_runtime.train.stopping import Rule, Standing, follow, sentence


def rule(metric: str = "evalLoss", patience: int = 2, min_delta: float = 0.0) -> Rule:
    return Rule.of(EarlyStopping(metric=metric, patience=patience, min_delta=min_delta))


def after(values: list[float], by: Rule) -> Standing:
    return follow(((10 * (index + 1), value) for index, value in enumerate(values)), by)


@pytest.mark.parametrize(
    ("values", "stopped", "best_step"),
    [
        ([], False, None),
        ([3.0], False, 10),
        ([3.0, 2.0, 1.0], False, 30),
        ([3.0, 4.0], False, 10),
        ([3.0, 4.0, 5.0], True, 10),
        ([3.0, 4.0, 2.0, 3.0], False, 30),  # one that is better begins the count anew
        ([3.0, 3.0, 3.0], True, 10),  # equal is no improvement, and the first of equals is the best
        ([3.0, 4.0, 5.0, 1.0], True, 10),  # what comes after the end does not count
        ([math.nan, 3.0, math.inf, math.nan], True, 20),
        ([math.nan, math.nan], True, None),
    ],
)
def test_it_stops_after_as_many_evaluations_without_an_improvement(
    values: list[float], stopped: bool, best_step: int | None
) -> None:
    standing = after(values, rule())
    assert (standing.stopped, standing.best_step) == (stopped, best_step)


def test_a_metric_knows_its_direction() -> None:
    assert after([0.1, 0.2, 0.3], rule("facts/f1")).best_step == 30
    assert after([0.3, 0.2, 0.1], rule("facts/f1")).stopped
    assert after([0.3, 0.2, 0.1], rule("fresh/perplexity")).best_step == 30


def test_small_improvements_do_not_count_but_add_up() -> None:
    assert after([3.0, 2.9, 2.8], rule(min_delta=0.5)).stopped
    slowly = after([3.0, 2.7, 2.4, 2.1, 1.8], rule(min_delta=0.5))
    assert not slowly.stopped
    # The best weights are the best ones, however little better they are.
    assert after([3.0, 2.9, 2.8], rule(min_delta=0.5)).best_step == 30


def test_the_sentence_says_when_why_and_what_is_published() -> None:
    stopped = after([12.3, 13.0, 14.5], rule("fresh/perplexity"))
    assert sentence(stopped, rule("fresh/perplexity"), 30) == (
        "stopped early at step 30: fresh/perplexity has not improved for 2 evaluations; best was 12.3 at step 10, "
        "whose weights are published"
    )
    unmoved = after([1.0, 0.9], rule(patience=1, min_delta=0.5))
    assert "has not improved by more than 0.5 for 1 evaluation; best was 0.9" in sentence(
        unmoved, rule(patience=1, min_delta=0.5), 20
    )
    assert sentence(after([2.0, 1.0], rule()), rule(), 20) == (
        "trained to step 20; evalLoss: best was 1 at step 20, whose weights are published"
    )
    assert "never a number" in sentence(after([math.nan], rule()), rule(), 10)


def test_a_resumed_run_knows_what_the_uninterrupted_one_does(tmp_path: Path) -> None:
    values = {"evalLoss": [3.0, 2.0, 2.5, 2.6], "fresh/perplexity": [9.0, 8.0, 8.5, 8.6]}
    whole = Ledger(rule())
    resumed = Ledger(rule())
    for index in range(4):
        known = {name: each[index] for name, each in values.items()}
        whole.note(10 * (index + 1), known)
        resumed.note(10 * (index + 1), known)
        resumed.save(tmp_path)
        resumed = Ledger.read(tmp_path, rule())
    assert resumed == whole
    assert whole.stopped
    assert whole.spared(40) == {20}
    assert {each.metric: each.value for each in whole.of(20)} == {"evalLoss": 2.0, "fresh/perplexity": 8.0}


def test_metrics_of_one_checkpoint_may_come_one_by_one() -> None:
    ledger = Ledger(rule(patience=1))
    ledger.note(10, {"evalLoss": 2.0})
    ledger.note(10, {"fresh/perplexity": 8.0, "facts/f1": math.nan})
    assert ledger.best is not None
    assert ledger.best.metrics == {"evalLoss": 2.0, "fresh/perplexity": 8.0}
    ledger.note(20, {"evalLoss": 2.5})
    ledger.note(20, {"fresh/perplexity": 7.0})
    assert ledger.stopped
    assert [each.metric for each in ledger.metrics()] == ["evalLoss", "fresh/perplexity"]
    assert ledger.best.step == 10


def test_when_the_best_checkpoint_is_gone_the_newest_takes_its_place(tmp_path: Path) -> None:
    ledger = Ledger(rule(patience=3))
    for step, loss in ((10, 1.0), (20, 2.0)):
        ledger.note(step, {"evalLoss": loss})
    ledger.lose_best()
    assert (ledger.standing.best_step, ledger.standing.best, ledger.standing.waited) == (20, 2.0, 1)
    assert ledger.spared(20) == {20}
    ledger.save(tmp_path)
    assert json.loads((tmp_path / LEDGER).read_text())["best"]["step"] == 20


def test_a_checkpoint_without_a_ledger_begins_a_new_one(tmp_path: Path) -> None:
    assert Ledger.read(tmp_path, rule()) == Ledger(rule())
