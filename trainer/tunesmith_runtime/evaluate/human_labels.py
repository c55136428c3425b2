"""What people say of answers, and how far a judge agrees with them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from tunesmith_api.data import DatasetSource
from tunesmith_api.suites.judge import Scale
from tunesmith_runtime.data.problems import Problems
from tunesmith_runtime.data.reading import open_rows
from tunesmith_runtime.evaluate.statistics import Rows, Summands, mean_of

# What a label of a pair is as the target's win rate.
_PAIR = {"A": 1.0, "B": 0.0, "TIE": 0.5}


@dataclass(frozen=True)
class Label:
    """A label of the answer to the question with an index: a score, or a win rate. `answer` is None if not told."""

    index: int
    value: float
    answer: str | None


@dataclass(frozen=True)
class Agreement:
    """Metrics by bare name, what they are computed from, and sentences on what is missing."""

    metrics: Mapping[str, float]
    summands: Mapping[str, Summands]
    notes: tuple[str, ...]


def read(uri: str, prompts: Sequence[str], scale: Scale | None) -> tuple[Label, ...]:
    """Return the labels of a file, of scores on `scale`, or of pairs when that is None.

    Raises DataError with the places of labels that are none, or that belong to none of the prompts.
    """
    problems = Problems(uri, "labels cannot be used")
    places = Counter(prompts)
    index_of = {prompt: index for index, prompt in enumerate(prompts)}
    labels: list[Label] = []
    for row in open_rows(DatasetSource(uri=uri, format="text")).read():
        try:
            labels.append(_label(row.value, index_of, places, scale))
        except _BadLabelError as error:
            problems.add(row.place, str(error))
    problems.raise_if_any()
    return tuple(labels)


def agreement(
    labels: Sequence[Label], verdicts: Sequence[float | None], answers: Sequence[str], *, names: bool
) -> Agreement:
    """Return how far a judge's verdicts, by the questions' indices, agree with labels of these answers.

    `names` says that verdicts are names for one of three outcomes, which Cohen's kappa compares (Cohen 1960); else they
    are scores, which Spearman's rank correlation compares and which agree when they are the same whole number.
    """
    usable: list[tuple[float, float]] = []
    for label in labels:
        verdict = verdicts[label.index]
        if verdict is not None and label.answer in (None, answers[label.index]):
            usable.append((label.value, verdict))
    notes: list[str] = []
    if left_out := len(labels) - len(usable):
        notes.append(
            f"{left_out} of {len(labels)} human labels are of other answers, or of answers without a verdict, and are "
            "left out."
        )
    if not usable:
        return Agreement({}, {}, tuple(notes))
    people, judge = (np.array(each) for each in zip(*usable, strict=True))
    same = people == judge if names else np.floor(people + 0.5) == np.floor(judge + 0.5)
    metrics = {"humanAgreement": float(same.mean())}
    summands = {"humanAgreement": mean_of([float(each) for each in same])}
    further = _kappa(people, judge) if names else _spearman(people, judge)
    name = "humanKappa" if names else "humanSpearman"
    if further is None:
        notes.append(f"{name} is left out: it says nothing where all labels or all verdicts are alike.")
    else:
        metrics[name], summands[name] = further
    return Agreement(metrics, summands, tuple(notes))


def _kappa(people: Rows, judge: Rows) -> tuple[float, Summands] | None:
    from sklearn.metrics import cohen_kappa_score  # takes a second: only for who has labels

    if len({*people, *judge}) < 2:
        return None
    outcomes = sorted(_PAIR.values())
    rows = np.zeros((len(people), len(outcomes) ** 2))
    cells = np.searchsorted(outcomes, people) * len(outcomes) + np.searchsorted(outcomes, judge)
    rows[np.arange(len(people)), cells] = 1.0

    def of_sums(sums: Rows) -> Rows:
        tables = sums.reshape(-1, len(outcomes), len(outcomes)) / sums.sum(axis=1)[:, None, None]
        seen = np.trace(tables, axis1=1, axis2=2)
        by_chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1)
        return np.asarray((seen - by_chance) / (1 - by_chance))

    named = [[str(each) for each in column] for column in (people, judge)]
    return float(cohen_kappa_score(*named)), Summands(rows, of_sums)


def _spearman(people: Rows, judge: Rows) -> tuple[float, Summands] | None:
    if len({*people}) < 2 or len({*judge}) < 2:
        return None
    x, y = rankdata(people), rankdata(judge)
    rows = np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])

    def of_sums(sums: Rows) -> Rows:
        n, x, y, xx, yy, xy = sums.T
        return np.asarray((n * xy - x * y) / np.sqrt((n * xx - x * x) * (n * yy - y * y)))

    return float(spearmanr(people, judge).statistic), Summands(rows, of_sums)


class _BadLabelError(Exception):
    """A label that cannot be used, and why."""


def _label(row: Mapping[str, Any], index_of: Mapping[str, int], places: Counter[str], scale: Scale | None) -> Label:
    answer = row.get("answer")
    if answer is not None and not isinstance(answer, str):
        raise _BadLabelError("answer is no text")
    return Label(_index(row, index_of, places), _value(row.get("label"), scale), answer)


def _index(row: Mapping[str, Any], index_of: Mapping[str, int], places: Counter[str]) -> int:
    index, prompt, count = row.get("index"), row.get("prompt"), places.total()
    if index is not None:
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
            raise _BadLabelError(f"index is {index!r}; it must be that of a question, 0 to {count - 1}")
        return index
    if not isinstance(prompt, str):
        raise _BadLabelError("there is neither index nor prompt; one of them must say which question it is")
    if prompt not in places:
        raise _BadLabelError("the prompt is that of none of the questions")
    if places[prompt] > 1:
        raise _BadLabelError(f"the prompt is that of {places[prompt]} questions; say by index which of them it is")
    return index_of[prompt]


def _value(label: Any, scale: Scale | None) -> float:
    if scale is None:
        if not isinstance(label, str) or label.upper() not in _PAIR:
            raise _BadLabelError(
                f"label is {label!r}; it must be A (the target's answer is better), B (the baseline's) or tie"
            )
        return _PAIR[label.upper()]
    if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
        raise _BadLabelError(f"label is {label!r}; it must be a score from {scale.min} to {scale.max}")
    if not scale.min <= label <= scale.max:
        raise _BadLabelError(f"label is {label!r}, which is not on the scale from {scale.min} to {scale.max}")
    return float(label)
