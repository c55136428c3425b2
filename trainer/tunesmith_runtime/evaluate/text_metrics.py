"""Scores of answers against reference answers."""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import cast

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import BLEU, CHRF

from tunesmith_api.metrics import GoldenMetric
from tunesmith_runtime.evaluate.json_metrics import json_match, json_valid
from tunesmith_runtime.evaluate.statistics import Rows, Summands, mean_of

# Scores an answer against its references.
ScoreOne = Callable[[str, Sequence[str]], float]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Scores:
    """Values by metric: of the whole corpus, of each sample in the order of the answers, and what they sum up from."""

    corpus: Mapping[str, float]
    samples: tuple[Mapping[str, float], ...]
    summands: Mapping[str, Summands]


@dataclass(frozen=True)
class _Column:
    corpus: float
    samples: Sequence[float]
    summands: Summands


def score(
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    metrics: Sequence[GoldenMetric],
    own: Mapping[GoldenMetric, ScoreOne] = MappingProxyType({}),
) -> Scores:
    """Return the metrics of at least one answer, each against its own references, of which each has at least one.

    `own` scores one answer by metrics that have settings, which are the means of these scores. Units
    and directions are those of tunesmith_api.metrics. The BLEU of one sample is sacrebleu's sentence BLEU with
    effective order, so that a short answer does not score 0 for having no four-grams.
    """
    ways = _METRICS | {metric: _mean_of(score_one) for metric, score_one in own.items()}
    columns = {metric: ways[metric](answers, references) for metric in metrics}
    return Scores(
        corpus={metric: column.corpus for metric, column in columns.items()},
        samples=tuple(
            {metric: column.samples[index] for metric, column in columns.items()} for index in range(len(answers))
        ),
        summands={metric: column.summands for metric, column in columns.items()},
    )


def normalize_answer(text: str) -> str:
    """Return the text in lower case without ASCII punctuation, English articles and runs of whitespace.

    The rules are those of the official evaluation of SQuAD 1.1 (Rajpurkar et al. 2016).
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """Return 1 when the normalised answer equals a normalised reference, else 0."""
    normalized = normalize_answer(answer)
    return float(any(normalized == normalize_answer(reference) for reference in references))


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Return the best harmonic mean, over the references, of token precision and recall, 0 to 1.

    Tokens are the words of the normalised texts, counted as often as they occur; without a common word it is 0, also
    when both are empty, as SQuAD 1.1 has it.
    """
    return max(_f1(answer, reference) for reference in references)


def _f1(answer: str, reference: str) -> float:
    found, wanted = normalize_answer(answer).split(), normalize_answer(reference).split()
    common = (Counter(found) & Counter(wanted)).total()
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


_Compute = Callable[[Sequence[str], Sequence[Sequence[str]]], _Column]


def _mean_of(score_one: ScoreOne) -> _Compute:
    def compute(answers: Sequence[str], references: Sequence[Sequence[str]]) -> _Column:
        samples = [score_one(*pair) for pair in zip(answers, references, strict=True)]
        return _Column(fmean(samples), samples, mean_of(samples))

    return compute


def _bleu(answers: Sequence[str], references: Sequence[Sequence[str]]) -> _Column:
    return _of_corpus(BLEU(), BLEU(effective_order=True), answers, references)


def _chrf(answers: Sequence[str], references: Sequence[Sequence[str]]) -> _Column:
    return _of_corpus(CHRF(), CHRF(), answers, references)


def _of_corpus(
    corpus: BLEU | CHRF, sentence: BLEU | CHRF, answers: Sequence[str], references: Sequence[Sequence[str]]
) -> _Column:
    samples = [sentence.sentence_score(*pair).score for pair in zip(answers, references, strict=True)]
    # Counts of each answer, which sacrebleu's own significance tests add up; it has no public name for them.
    rows = np.array(corpus._extract_corpus_statistics(answers, _streams(references)), dtype=float)

    def of_sums(sums: Rows) -> Rows:
        return np.array([corpus._compute_score_from_stats(each.tolist()).score for each in sums])

    return _Column(corpus.corpus_score(answers, _streams(references)).score, samples, Summands(rows, of_sums))


def _streams(references: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return sacrebleu's reference streams: the n-th reference of every sample, None where there are fewer."""
    streams = [
        [each[stream] if stream < len(each) else None for each in references]
        for stream in range(max(len(each) for each in references))
    ]
    return cast("list[list[str]]", streams)  # sacrebleu's types do not know of the None that it accepts


def _rouge(kind: str) -> _Compute:
    scorer = RougeScorer([kind])
    return _mean_of(lambda answer, references: float(scorer.score_multi(references, answer)[kind].fmeasure))


_METRICS: dict[GoldenMetric, _Compute] = {
    "exactMatch": _mean_of(exact_match),
    "f1": _mean_of(token_f1),
    "bleu": _bleu,
    "chrf": _chrf,
    "rouge1": _rouge("rouge1"),
    "rouge2": _rouge("rouge2"),
    "rougeL": _rouge("rougeL"),
    "jsonValid": _mean_of(lambda answer, _: json_valid(answer)),
    "jsonMatch": _mean_of(json_match),
}
