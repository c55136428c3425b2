"""The metrics that suites compute, with the direction in which they are better."""

from dataclasses import dataclass
from typing import Literal, get_args

# The comment-like text of each entry in METRICS is its entry in the generated reference.
GoldenMetric = Literal["exactMatch", "f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL"]
PerplexityMetric = Literal["perplexity"]
PerformanceMetric = Literal[
    "timeToFirstTokenP50",
    "timeToFirstTokenP90",
    "timeToFirstTokenP99",
    "latencyP50",
    "latencyP90",
    "latencyP99",
    "streamTokensPerSecond",
    "tokensPerSecond",
    "requestsPerSecond",
    "errorRate",
]


@dataclass(frozen=True)
class Metric:
    """A number that a suite gives.

    `scale` is the largest possible value, or None when there is none.
    """

    description: str
    higher_is_better: bool = True
    scale: float | None = 1.0


METRICS: dict[str, Metric] = {
    "exactMatch": Metric("Share of answers equal to a reference after SQuAD's normalisation, 0 to 1."),
    "f1": Metric("Mean token F1 against the best reference, as SQuAD defines it, 0 to 1."),
    "bleu": Metric("Corpus BLEU by sacrebleu, 0 to 100.", scale=100.0),
    "chrf": Metric("Corpus chrF2 by sacrebleu, 0 to 100.", scale=100.0),
    "rouge1": Metric("Mean ROUGE-1 F-measure by rouge-score against the best reference, 0 to 1."),
    "rouge2": Metric("Mean ROUGE-2 F-measure by rouge-score against the best reference, 0 to 1."),
    "rougeL": Metric("Mean ROUGE-L F-measure by rouge-score against the best reference, 0 to 1."),
    "perplexity": Metric(
        "exp of the mean negative log-likelihood per scored token; at least 1, lower is better.",
        higher_is_better=False,
        scale=None,
    ),
    "score": Metric("Mean score that the judge gives, on the suite's scale.", scale=None),
    "winRate": Metric(
        "Share of pairs in which the judge prefers the target's answer to the baseline's in both orders; ties count "
        "half, 0 to 1. The baseline's value is one half, that of a model against itself."
    ),
    "tieRate": Metric(
        "Share of pairs in which the judge prefers neither answer, or another one when their order is turned, 0 to 1."
    ),
    "positionConsistency": Metric(
        "Share of pairs for which the judge says the same in both orders, 0 to 1; answers that are equal do not count."
    ),
    "humanAgreement": Metric("Share of people's labels that the judge agrees with exactly, 0 to 1."),
    "humanKappa": Metric("Cohen's kappa of the judge and people's labels, -1 to 1; 0 is agreement by chance."),
    "humanSpearman": Metric("Spearman's rank correlation of the judge's scores and people's, -1 to 1."),
    **{
        f"timeToFirstTokenP{rank}": Metric(
            f"Time from a request to the first token of its answer, {rank}th percentile, in seconds.",
            higher_is_better=False,
            scale=None,
        )
        for rank in (50, 90, 99)
    },
    **{
        f"latencyP{rank}": Metric(
            f"Time from a request to the end of its answer, {rank}th percentile, in seconds.",
            higher_is_better=False,
            scale=None,
        )
        for rank in (50, 90, 99)
    },
    "streamTokensPerSecond": Metric(
        "Tokens per second of one answer after its first token, median over requests.", scale=None
    ),
    "tokensPerSecond": Metric("Tokens of all answers per second of the load.", scale=None),
    "requestsPerSecond": Metric("Requests answered per second of the load.", scale=None),
    "errorRate": Metric("Share of requests that were not answered, 0 to 1.", higher_is_better=False),
}

PERPLEXITY_METRICS: tuple[str, ...] = get_args(PerplexityMetric)
PERFORMANCE_METRICS: tuple[str, ...] = get_args(PerformanceMetric)


UNKNOWN = Metric("A metric of the suite's own.", scale=None)


def described(metric: str) -> Metric:
    """Return what is known of a metric: SUITE/METRIC, SUITE/PART/METRIC or a bare name."""
    return METRICS.get(metric.rpartition("/")[2], UNKNOWN)


def improvement(metric: str, value: float, baseline: float, higher_is_better: bool | None = None) -> float:
    """Return by how much `value` is better than `baseline`; negative when it is worse.

    `higher_is_better` is the direction of a metric that only its suite knows.
    """
    higher = described(metric).higher_is_better if higher_is_better is None else higher_is_better
    return value - baseline if higher else baseline - value
