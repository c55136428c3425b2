"""Texts that were put into classes: which class an answer names, and how good the classes are."""

from collections.abc import Callable, Sequence

import numpy as np

from tunesmith_api.metrics import ClassificationMetric, ClassMetric
from tunesmith_api.suites.classification import words_of
from tunesmith_runtime.evaluate.samples import ConfusionMatrix
from tunesmith_runtime.evaluate.statistics import Rows, Summands, mean_of

_OfSums = Callable[[Rows], Rows]

# Of the probabilities behind an area under the ROC curve, so many are told apart for its interval.
_RANKS = 512


def label_of(answer: str, labels: Sequence[str]) -> str | None:
    """Return the label that an answer is, or else the only one that it contains, else None.

    Case, width, spaces and punctuation do not matter. A label inside of a longer one is not contained there: "not spam"
    contains no "spam".
    """
    said = words_of(answer)
    found: list[tuple[int, int, str]] = []
    for label in labels:
        words = words_of(label)
        if said == words:
            return label
        found += [
            (start, start + len(words), label)
            for start in range(len(said) - len(words) + 1)
            if said[start : start + len(words)] == words
        ]
    named = {
        label
        for start, end, label in found
        if not any(low <= start and end <= high and high - low > end - start for low, high, _ in found)
    }
    return named.pop() if len(named) == 1 else None


def confusion(own: Sequence[str], given: Sequence[str | None], labels: Sequence[str]) -> ConfusionMatrix:
    """Return how often texts of each class were given each class."""
    counts = np.zeros((len(labels), len(labels) + 1), dtype=int)
    for row, column in zip(_numbers(own, labels), _numbers(given, labels), strict=True):
        counts[row, column] += 1
    return ConfusionMatrix(tuple(labels), tuple(tuple(int(each) for each in row) for row in counts))


def summands_of(
    metrics: Sequence[ClassificationMetric],
    own: Sequence[str],
    given: Sequence[str | None],
    labels: Sequence[str],
) -> dict[str, Summands]:
    """Return the metrics over all classes, all but auc, each as scikit-learn has it with these `labels`.

    What was given no class is wrong and counts for no class, except that it is one of its own for mcc. Where nothing is
    to be divided by, a class's precision, recall or F1 is 0.
    """
    rows = _rows(own, given, labels)
    hits = [float(one == other) for one, other in zip(own, given, strict=True)]
    return {
        metric: mean_of(hits) if metric == "accuracy" else Summands(rows, _OF_ALL[metric])
        for metric in metrics
        if metric != "auc"
    }


def summands_of_class(
    metrics: Sequence[ClassMetric], own: Sequence[str], given: Sequence[str | None], label: str
) -> dict[str, Summands]:
    """Return the metrics of one class."""
    is_own = np.array([each == label for each in own], dtype=float)
    is_given = np.array([each == label for each in given], dtype=float)
    rows = np.stack([is_own, is_own * is_given, is_given], axis=1)
    return {metric: Summands(rows, _OF_CLASS[metric]) for metric in metrics}


def summands_of_auc(positive: Sequence[bool], odds: Sequence[float]) -> Summands:
    """Return the area under the ROC curve: how often a text of the last class is found likelier than one of the first.

    A text counts by its rank among all, of which _RANKS are told apart; so models whose probabilities are of another
    scale can be compared. Where either class is missing, as among texts drawn anew, it is chance.
    """
    _, rank = np.unique(odds, return_inverse=True)
    places = rank * _RANKS // (int(rank.max()) + 1) if rank.max() >= _RANKS else rank
    rows = np.zeros((len(odds), 2 * _RANKS))
    rows[np.arange(len(odds)), places + _RANKS * np.array(positive, dtype=int)] = 1
    return Summands(rows, _auc)


def _auc(sums: Rows) -> Rows:
    negative, positive = sums[:, :_RANKS], sums[:, _RANKS:]
    below = negative.cumsum(axis=1) - negative / 2
    pairs = negative.sum(axis=1) * positive.sum(axis=1)
    return np.divide((positive * below).sum(axis=1), pairs, out=np.full(len(sums), 0.5), where=pairs > 0)


def _numbers(labels: Sequence[str | None], known: Sequence[str]) -> list[int]:
    """Return the number of each label, the one beyond all for none."""
    places = {label: place for place, label in enumerate(known)}
    return [len(known) if label is None else places[label] for label in labels]


def _rows(own: Sequence[str], given: Sequence[str | None], labels: Sequence[str]) -> Rows:
    """Return, for each text, its own class, the one that was rightly given, and the one that was given, one-hot.

    Their sums are all that the metrics need of the confusion matrix: its rows, its diagonal and its columns.
    """
    count = len(labels)
    are, became = _numbers(own, labels), _numbers(given, labels)
    rows = np.zeros((len(own), 3 * count + 1))
    for row, is_own, is_given in zip(rows, are, became, strict=True):
        row[is_own] = row[2 * count + is_given] = 1
        if is_own == is_given:
            row[count + is_own] = 1
    return rows


def _split(sums: Rows) -> tuple[Rows, Rows, Rows]:
    """Return how many texts of each class there are, were rightly given it, and were given it, with those of none."""
    count = (sums.shape[1] - 1) // 3
    return sums[:, :count], sums[:, count : 2 * count], sums[:, 2 * count :]


def _share(part: Rows, whole: Rows) -> Rows:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _precision(own: Rows, right: Rows, given: Rows) -> Rows:
    return _share(right, given)


def _recall(own: Rows, right: Rows, given: Rows) -> Rows:
    return _share(right, own)


def _f1(own: Rows, right: Rows, given: Rows) -> Rows:
    return _share(2 * right, own + given)


_Score = Callable[[Rows, Rows, Rows], Rows]


def _micro(score: _Score) -> _OfSums:
    def of_sums(sums: Rows) -> Rows:
        own, right, given = _split(sums)
        return score(own.sum(axis=1), right.sum(axis=1), given[:, :-1].sum(axis=1))

    return of_sums


def _macro(score: _Score) -> _OfSums:
    def of_sums(sums: Rows) -> Rows:
        own, right, given = _split(sums)
        return np.asarray(score(own, right, given[:, :-1]).mean(axis=1))

    return of_sums


def _weighted(score: _Score) -> _OfSums:
    def of_sums(sums: Rows) -> Rows:
        own, right, given = _split(sums)
        return np.asarray((score(own, right, given[:, :-1]) * own).sum(axis=1) / own.sum(axis=1))

    return of_sums


def _mcc(sums: Rows) -> Rows:
    """Return Gorodkin's correlation coefficient of several classes (Gorodkin 2004), 0 where it is not defined."""
    own, right, given = _split(sums)
    texts = own.sum(axis=1)
    by_chance = (own * given[:, :-1]).sum(axis=1)
    spread = (texts**2 - (given**2).sum(axis=1)) * (texts**2 - (own**2).sum(axis=1))
    return _share(right.sum(axis=1) * texts - by_chance, np.sqrt(spread))


def _of_one(score: _Score) -> _OfSums:
    return lambda sums: score(sums[:, 0], sums[:, 1], sums[:, 2])


_OF_CLASS: dict[ClassMetric, _OfSums] = {
    "precision": _of_one(_precision),
    "recall": _of_one(_recall),
    "f1": _of_one(_f1),
}
_OF_ALL: dict[ClassificationMetric, _OfSums] = {
    "precisionMicro": _micro(_precision),
    "precisionMacro": _macro(_precision),
    "precisionWeighted": _weighted(_precision),
    "recallMicro": _micro(_recall),
    "recallMacro": _macro(_recall),
    "recallWeighted": _weighted(_recall),
    "f1Micro": _micro(_f1),
    "f1Macro": _macro(_f1),
    "f1Weighted": _weighted(_f1),
    "mcc": _mcc,
}
