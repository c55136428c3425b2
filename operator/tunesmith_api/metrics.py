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
}

PERPLEXITY_METRICS: tuple[str, ...] = get_args(PerplexityMetric)


def improvement(metric: str, value: float, baseline: float) -> float:
    """Return by how much `value` is better than `baseline`; negative when it is worse.

    `metric` is SUITE/METRIC or a bare metric name.
    """
    name = metric.rpartition("/")[2]
    return value - baseline if METRICS[name].higher_is_better else baseline - value
