"""Labels of people: those that cannot be used are told, and the rest are compared with a judge's verdicts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from tunesmith_api.suites.judge import Scale
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.human_labels import Label, agreement, read
from tunesmith_runtime.evaluate.statistics import Summands

PROMPTS = ["Who?", "What?", "What?"]


def labels(folder: Path, *rows: dict[str, Any]) -> str:
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file://{folder}/labels.jsonl"


def whole(metric: Summands) -> float:
    return float(metric.of_sums(metric.rows.sum(axis=0)[None])[0])


def test_scores_by_index_or_prompt(tmp_path: Path) -> None:
    uri = labels(tmp_path, {"prompt": "Who?", "label": 3}, {"index": 2, "label": 7.5, "answer": "Ada.", "scores": {}})
    assert read(uri, PROMPTS, Scale()) == (Label(0, 3.0, None), Label(2, 7.5, "Ada."))


def test_names_of_pairs_become_win_rates(tmp_path: Path) -> None:
    uri = labels(tmp_path, *({"index": 0, "label": label} for label in ("A", "b", "Tie")))
    assert [each.value for each in read(uri, PROMPTS, None)] == [1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"index": 0, "label": 11}, "label is 11, which is not on the scale from 1 to 10"),
        ({"index": 0, "label": "good"}, "label is 'good'; it must be a score from 1 to 10"),
        ({"index": 0, "label": True}, "label is True; it must be a score from 1 to 10"),
        ({"index": 0}, "label is None; it must be a score from 1 to 10"),
        ({"index": 3, "label": 3}, "index is 3; it must be that of a question, 0 to 2"),
        ({"index": "0", "label": 3}, "index is '0'; it must be that of a question, 0 to 2"),
        ({"label": 3}, "there is neither index nor prompt; one of them must say which question it is"),
        ({"prompt": "Why?", "label": 3}, "the prompt is that of none of the questions"),
        ({"prompt": "What?", "label": 3}, "the prompt is that of 2 questions; say by index which of them it is"),
        ({"index": 0, "label": 3, "answer": 5}, "answer is no text"),
    ],
)
def test_a_label_that_cannot_be_used_is_told_with_its_place(tmp_path: Path, row: dict[str, Any], fault: str) -> None:
    uri = labels(tmp_path, {"index": 0, "label": 1}, row)
    with pytest.raises(DataError) as raised:
        read(uri, PROMPTS, Scale())
    assert raised.value.message == f"{uri}: line 2: {fault}"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        read(f"file://{tmp_path}/gone.jsonl", PROMPTS, Scale())


def test_the_intervals_are_of_the_very_numbers_of_scipy_and_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    people = rng.integers(1, 6, 60).astype(float)
    judge = np.clip(people + rng.integers(-1, 2, 60), 1, 5).astype(float)
    scores = agreement(
        [Label(index, float(value), None) for index, value in enumerate(people)],
        judge.tolist(),
        ["x"] * 60,
        names=False,
    )
    assert scores.metrics["humanSpearman"] == pytest.approx(spearmanr(people, judge).statistic)
    assert whole(scores.summands["humanSpearman"]) == pytest.approx(scores.metrics["humanSpearman"])
    assert scores.metrics["humanAgreement"] == float((people == judge).mean())

    said, heard = (people // 2) / 2, (judge // 2) / 2
    names = agreement(
        [Label(index, float(value), None) for index, value in enumerate(said)], heard.tolist(), ["x"] * 60, names=True
    )
    kappa = cohen_kappa_score([str(each) for each in said], [str(each) for each in heard])
    assert names.metrics["humanKappa"] == pytest.approx(kappa)
    assert whole(names.summands["humanKappa"]) == pytest.approx(kappa)


def test_labels_of_other_answers_and_missing_verdicts_are_left_out() -> None:
    said = [Label(0, 1.0, "old"), Label(1, 1.0, None), Label(2, 0.0, "new")]
    found = agreement(said, [1.0, None, 0.0], ["new"] * 3, names=True)
    assert found.metrics == {"humanAgreement": 1.0}
    assert found.notes == (
        "2 of 3 human labels are of other answers, or of answers without a verdict, and are left out.",
        "humanKappa is left out: it says nothing where all labels or all verdicts are alike.",
    )
    assert agreement(said[:2], [1.0, None, 0.0], ["new"] * 3, names=True).metrics == {}


def test_labels_that_are_all_alike_tell_no_correlation() -> None:
    found = agreement([Label(0, 2.0, None), Label(1, 2.0, None)], [2.0, 3.0], ["x", "y"], names=False)
    assert found.metrics == {"humanAgreement": 0.5}
    assert found.notes == ("humanSpearman is left out: it says nothing where all labels or all verdicts are alike.",)
