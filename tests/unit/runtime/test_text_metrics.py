"""Scores equal those of the reference implementations."""

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from tunesmith_api.metrics import GoldenMetric
from tunesmith_runtime.evaluate.text_metrics import exact_match, normalize_answer, score, token_f1

ANSWERS = ["The sky is blue today.", "eight legs", "", "It goes round the earth in a month"]
REFERENCES = [
    ["The sky is blue.", "Blue is the colour of the sky today."],
    ["A spider has eight legs"],
    ["nothing to say here"],
    ["The moon goes round the earth once in a month", "round the earth", "It circles the earth"],
]


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The  Cat", "cat"),
        ("an apple, a day", "apple day"),
        ("Theatre another", "theatre another"),
        ("U.S.A.", "usa"),
        ("it's 3.14!", "its 314"),
        ("  \n\t ", ""),
        ("the", ""),
        ("a-the-b", "atheb"),
        ("ÉCOLE", "école"),
        ("«Où?»", "«où»"),
        ("東京 Tower", "東京 tower"),
    ],
)
def test_answers_are_normalised_as_squad_does(text: str, normalized: str) -> None:
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("The Eiffel Tower", ["eiffel tower"], 1, 1.0),
        ("Eiffel Tower!", ["the Eiffel Tower", "Paris"], 1, 1.0),
        ("in Paris, France", ["Paris"], 0, 0.5),  # 1 of 3 words found, 1 of 1 wanted
        ("Paris", ["London", "Paris France"], 0, 2 / 3),
        ("the the cat cat", ["cat cat dog"], 0, 0.8),  # 2 of 2 found, 2 of 3 wanted
        ("cat", ["dog"], 0, 0.0),
        ("", ["Paris"], 0, 0.0),
        ("the", ["a"], 1, 0.0),  # nothing is left of either: equal, and without a common word
        ("École", ["école"], 1, 1.0),
    ],
)
def test_exact_match_and_f1_by_hand(answer: str, references: list[str], exact: float, f1: float) -> None:
    assert exact_match(answer, references) == exact
    assert token_f1(answer, references) == pytest.approx(f1)


def test_the_corpus_value_is_the_mean_of_the_samples() -> None:
    result = score(["Paris", "in Paris, France"], [["Paris"], ["Paris"]], ["exactMatch", "f1"])
    assert result.corpus == {"exactMatch": 0.5, "f1": 0.75}
    assert result.samples == ({"exactMatch": 1, "f1": 1}, {"exactMatch": 0, "f1": 0.5})


def test_bleu_and_chrf_are_sacrebleus_with_as_many_references_as_each_sample_has() -> None:
    result = score(ANSWERS, REFERENCES, ["bleu", "chrf"])
    streams = [[each[n] if n < len(each) else None for each in REFERENCES] for n in range(3)]
    assert result.corpus == {
        "bleu": sacrebleu.corpus_bleu(ANSWERS, streams).score,  # type: ignore[arg-type]
        "chrf": sacrebleu.corpus_chrf(ANSWERS, streams).score,  # type: ignore[arg-type]
    }
    assert 0 < result.corpus["bleu"] < 100
    for answer, references, sample in zip(ANSWERS, REFERENCES, result.samples, strict=True):
        assert sample["bleu"] == sacrebleu.sentence_bleu(answer, references).score
        assert sample["chrf"] == sacrebleu.sentence_chrf(answer, references).score


def test_rouge_is_rouge_scores_best_reference() -> None:
    kinds: list[GoldenMetric] = ["rouge1", "rouge2", "rougeL"]
    result = score(ANSWERS, REFERENCES, kinds)
    scorer = RougeScorer([str(kind) for kind in kinds])
    for kind in kinds:
        best = [
            max(scorer.score(reference, answer)[kind].fmeasure for reference in references)
            for answer, references in zip(ANSWERS, REFERENCES, strict=True)
        ]
        assert [sample[kind] for sample in result.samples] == best
        assert result.corpus[kind] == pytest.approx(sum(best) / len(best))


def test_answers_that_are_all_empty_score_zero() -> None:
    every: list[GoldenMetric] = ["exactMatch", "f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL"]
    result = score(["", ""], [["a cat"], ["x", "y"]], every)
    assert result.corpus == dict.fromkeys(every, 0.0)


def test_perfect_answers_score_the_whole_scale() -> None:
    text = "The quick brown fox jumps over it"
    result = score([text], [[text]], ["exactMatch", "f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL"])
    assert result.corpus == pytest.approx(
        {"exactMatch": 1, "f1": 1, "bleu": 100, "chrf": 100, "rouge1": 1, "rouge2": 1, "rougeL": 1}
    )
