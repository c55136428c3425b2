"""The metrics that suites compute, with the direction in which they are better."""

from dataclasses import dataclass
from typing import Literal, get_args

# The comment-like text of each entry in METRICS is its entry in the generated reference.
GoldenMetric = Literal[
    "exactMatch",
    "f1",
    "bleu",
    "chrf",
    "rouge1",
    "rouge2",
    "rougeL",
    "jsonValid",
    "jsonSchema",
    "jsonMatch",
    "regex",
    "numeric",
    "similarity",
]
PerplexityMetric = Literal["perplexity"]


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
    "jsonValid": Metric("Share of answers that are JSON from beginning to end, as RFC 8259 has it, 0 to 1."),
    "jsonSchema": Metric("Share of answers that are JSON and fit the suite's jsonSchema, 0 to 1."),
    "jsonMatch": Metric("Share of answers that are the same JSON value as a reference, 0 to 1."),
    "regex": Metric("Share of answers in which the suite's regex is found, 0 to 1."),
    "numeric": Metric("Share of answers whose last number is a reference's, up to numericTolerance, 0 to 1."),
    "similarity": Metric(
        "Mean cosine of the answer's and the nearest reference's embeddings by embeddingModel, -1 to 1; 0 for an empty "
        "answer."
    ),
    "perplexity": Metric(
        "exp of the mean negative log-likelihood per scored token; at least 1, lower is better.",
        higher_is_better=False,
        scale=None,
    ),
}

PERPLEXITY_METRICS: tuple[str, ...] = get_args(PerplexityMetric)


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
