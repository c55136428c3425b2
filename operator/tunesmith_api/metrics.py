"""The metrics that suites compute, with the direction in which they are better."""

from dataclasses import dataclass
from typing import Literal, get_args

# The comment-like text of each entry in METRICS is its entry in the generated reference.
GoldenMetric = Literal["exactMatch", "f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL"]
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
    "f1": Metric(
        "Mean token F1 against the best reference, as SQuAD defines it, 0 to 1; of a harness task lm-eval's own F1."
    ),
    "bleu": Metric("Corpus BLEU by sacrebleu, 0 to 100.", scale=100.0),
    "chrf": Metric("Corpus chrF2 by sacrebleu, 0 to 100.", scale=100.0),
    "rouge1": Metric("Mean ROUGE-1 F-measure by rouge-score against the best reference, 0 to 1."),
    "rouge2": Metric("Mean ROUGE-2 F-measure by rouge-score against the best reference, 0 to 1."),
    "rougeL": Metric("Mean ROUGE-L F-measure by rouge-score against the best reference, 0 to 1."),
    "perplexity": Metric(
        "exp of the mean negative log-likelihood per scored token, of a harness task per sample; at least 1, lower is "
        "better.",
        higher_is_better=False,
        scale=None,
    ),
    # Of harness tasks, under lm-eval's names. Tasks may have others: their direction is what lm-eval says.
    "acc": Metric("Share of samples whose right answer the model finds likeliest, 0 to 1."),
    "acc_norm": Metric("acc, each answer's log-likelihood divided by its length in characters."),
    "acc_bytes": Metric("acc, each answer's log-likelihood divided by its length in bytes."),
    "acc_mutual_info": Metric("acc, each answer's log-likelihood less the one that it has without the question."),
    "exact_match": Metric("Share of answers equal to the reference, as the task's settings compare them, 0 to 1."),
    "word_perplexity": Metric(
        "exp of the negative log-likelihood of all texts per word; at least 1, lower is better.",
        higher_is_better=False,
        scale=None,
    ),
    "byte_perplexity": Metric(
        "exp of the negative log-likelihood of all texts per byte; at least 1, lower is better.",
        higher_is_better=False,
        scale=None,
    ),
    "bits_per_byte": Metric(
        "Negative log-likelihood of all texts per byte, in bits; lower is better.", higher_is_better=False, scale=None
    ),
    "brier_score": Metric(
        "Mean squared distance of the answers' probabilities from the right answer, 0 to 2; lower is better.",
        higher_is_better=False,
        scale=2.0,
    ),
    "mcc": Metric("Matthews correlation coefficient, -1 to 1."),
    "chrfpp": Metric("Corpus chrF++ by sacrebleu, 0 to 100.", scale=100.0),
    "ter": Metric(
        "Translation edit rate by sacrebleu, in percent; lower is better.", higher_is_better=False, scale=None
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
