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
PerplexityMetric = Literal["perplexity", "wordPerplexity", "bytePerplexity", "bitsPerByte"]
ExtractionMetric = Literal["exactMatch", "f1"]
ClassMetric = Literal["precision", "recall", "f1"]
ClassificationMetric = Literal[
    "accuracy",
    "precisionMicro",
    "precisionMacro",
    "precisionWeighted",
    "recallMicro",
    "recallMacro",
    "recallWeighted",
    "f1Micro",
    "f1Macro",
    "f1Weighted",
    "mcc",
    "auc",
]
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
    "f1": Metric(
        "Mean token F1 against the best reference, as SQuAD defines it, 0 to 1. Of a class: the harmonic mean of its "
        "precision and recall. Of a harness task: lm-eval's own."
    ),
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
        "exp of the mean negative log-likelihood per scored token, of a harness task per sample; at least 1, lower is "
        "better.",
        higher_is_better=False,
        scale=None,
    ),
    "score": Metric("Mean score that the judge gives, on the suite's scale.", scale=None),
    "winRate": Metric(
        "Share of pairs in which the judge prefers the target's answer to the baseline's in both orders, or share "
        "of people's votes for it, as the mean over pairs; ties count half, 0 to 1. The baseline's value is one half, "
        "that of a model against itself."
    ),
    "tieRate": Metric(
        "Share of pairs in which the judge prefers neither answer, or another one when their order is turned; or share "
        "of people's votes that are ties, as the mean over pairs, 0 to 1."
    ),
    "positionConsistency": Metric(
        "Share of pairs for which the judge says the same in both orders, 0 to 1; answers that are equal do not count."
    ),
    "humanAgreement": Metric("Share of people's labels that the judge agrees with exactly, 0 to 1."),
    "humanKappa": Metric("Cohen's kappa of the judge and people's labels, -1 to 1; 0 is agreement by chance."),
    "humanSpearman": Metric("Spearman's rank correlation of the judge's scores and people's, -1 to 1."),
    "raterAgreement": Metric("Share of pairs of people's votes on the same answers that say the same, 0 to 1."),
    "raterKappa": Metric(
        "Fleiss' kappa of people's votes: their agreement beyond chance, at most 1; 0 is agreement by chance."
    ),
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
    "wordPerplexity": Metric(
        "exp of the negative log-likelihood of the texts per word, as lm-eval counts it; at least 1, lower is better.",
        higher_is_better=False,
        scale=None,
    ),
    "bytePerplexity": Metric(
        "exp of the negative log-likelihood of the texts per byte of UTF-8; at least 1, lower is better.",
        higher_is_better=False,
        scale=None,
    ),
    "bitsPerByte": Metric(
        "Negative log-likelihood of the texts in bits per byte of UTF-8; at least 0, lower is better.",
        higher_is_better=False,
        scale=None,
    ),
    "accuracy": Metric("Share of texts that were given their own class, 0 to 1."),
    "precision": Metric("Share of the texts given a class that are of it, 0 to 1; 0 when none was given it."),
    "recall": Metric("Share of the texts of a class that were given it, 0 to 1; 0 when there are none."),
    **{
        f"{score}{name}": Metric(f"{words} over all classes, {how}, 0 to 1.")
        for score, words in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
        for name, how in (
            ("Micro", "all texts counted together"),
            ("Macro", "each class counted alike"),
            ("Weighted", "each class counted as often as it occurs"),
        )
    },
    "mcc": Metric("Matthews correlation coefficient of given and own classes, -1 to 1; 0 is chance."),
    "auc": Metric("Area under the ROC curve of the last class's probability, 0 to 1; 0.5 is chance."),
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
    "chrfpp": Metric("Corpus chrF++ by sacrebleu, 0 to 100.", scale=100.0),
    "ter": Metric(
        "Translation edit rate by sacrebleu, in percent; lower is better.", higher_is_better=False, scale=None
    ),
    "refusalRate": Metric("Share of harmful requests that the model refuses, 0 to 1."),
    "overRefusalRate": Metric(
        "Share of harmless requests that the model refuses, 0 to 1; lower is better.", higher_is_better=False
    ),
    "piiRate": Metric(
        "Share of answers that hold personal data which the request does not, 0 to 1; lower is better.",
        higher_is_better=False,
    ),
    "toxicity": Metric(
        "Mean toxicity of answers by the suite's classifier, or the share of them with a word of its lists, 0 to 1; "
        "lower is better.",
        higher_is_better=False,
    ),
    "maxToxicity": Metric(
        "Mean over prompts of the toxicity of the most toxic of a prompt's answers, 0 to 1; lower is better.",
        higher_is_better=False,
    ),
    "robustness": Metric(
        "Score of the answers to changed questions as a share of the score of those to the questions as they are; 1 "
        "when the changes do no harm, and more when they help.",
        scale=None,
    ),
    "stereotypeScore": Metric(
        "Share of pairs whose stereotypical sentence the model finds likelier, ties half, 0 to 1. 0.5 is best; gates "
        "that compare take lower for better, so use biasDistance for them.",
        higher_is_better=False,
    ),
    "biasDistance": Metric(
        "How far stereotypeScore is from 0.5, 0 to 0.5; lower is better.", higher_is_better=False, scale=0.5
    ),
    "extractionRate": Metric(
        "Share of training records that the model continues verbatim, 0 to 1; lower is better.",
        higher_is_better=False,
    ),
    "exposure": Metric(
        "Mean exposure of the canaries in bits, at most log2(candidates + 1); about 1.4 when the model has not learnt "
        "them; lower is better.",
        higher_is_better=False,
        scale=None,
    ),
}

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
