"""Answers that stand in a text are scored as SQuAD 2.0 scores them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.runtime.scripted import Scripted
from tunesmith_api.suites import Suite
from tunesmith_runtime.data.records import shown_prompt
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.samples import SuiteResult
from tunesmith_runtime.evaluate.statistics import compare
from tunesmith_runtime.evaluate.suites import extraction, read_suite

CONTEXT = "The Eiffel Tower, in Paris, was built by Gustave Eiffel; the über tower is of iron."


def suite(**fields: Any) -> Suite:
    return Suite.model_validate({"name": "squad", "extraction": {"uri": "file:///squad.jsonl", **fields}})


def written(folder: Path, *references: Sequence[str], **more: Any) -> str:
    rows = [
        {
            "question": f"Question {index}?",
            "context": CONTEXT,
            "answers": {"text": list(each), "answer_start": [CONTEXT.index(text) for text in each]},
            **more,
        }
        for index, each in enumerate(references)
    ]
    path = folder / "squad.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file://{path}"


def run(folder: Path, *pairs: tuple[str, Sequence[str]], **fields: Any) -> tuple[SuiteResult, Scripted]:
    respondent = Scripted([answer for answer, _ in pairs])
    loaded = read_suite(suite(uri=written(folder, *[references for _, references in pairs]), **fields))
    return extraction.run(loaded, respondent, lambda _: None), respondent


# What SQuAD 2.0's own evaluation gives, by hand: the answer, the references, exact match and F1.
SCORES: list[tuple[str, list[str], float, float]] = [
    ("the Eiffel tower!", ["Eiffel Tower"], 1, 1.0),
    ("in Paris, France", ["Paris"], 0, 0.5),
    ("Eiffel", ["Gustave Eiffel", "The Eiffel Tower"], 0, 2 / 3),
    ("tower tower", ["über tower"], 0, 0.5),
    ("Über Tower", ["über tower"], 1, 1.0),
    ("", ["Paris"], 0, 0.0),
    ("the", ["Paris"], 0, 0.0),
    ("Unanswerable.", ["Paris"], 0, 0.0),
    ("", [], 1, 1.0),
    ("unanswerable", [], 1, 1.0),
    ("The Unanswerable", [], 1, 1.0),
    ("the", [], 1, 1.0),
    ("It is unanswerable", [], 0, 0.0),
    ("Paris", [], 0, 0.0),
    # A reference of which normalising leaves nothing is none.
    ("", ["The"], 1, 1.0),
    ("Paris", ["The", "Paris"], 1, 1.0),
    ("", ["The", "Paris"], 0, 0.0),
]


def test_each_answer_has_the_scores_of_squad_2(tmp_path: Path) -> None:
    result, _ = run(tmp_path, *[(answer, references) for answer, references, _, _ in SCORES], noAnswer="unanswerable")
    for sample, (answer, references, exact, f1) in zip(result.samples, SCORES, strict=True):
        assert sample.scores == {"exactMatch": exact, "f1": pytest.approx(f1)}, (answer, references)


def test_questions_with_and_without_an_answer_are_told_apart(tmp_path: Path) -> None:
    result, _ = run(tmp_path, ("Paris", ["Paris"]), ("in Paris", ["Paris"]), ("", []), ("x", []), ("x", []))
    assert result.metrics == pytest.approx(
        {
            "exactMatch": 2 / 5,
            "f1": (1 + 2 / 3 + 1) / 5,
            "hasAnswer/exactMatch": 1 / 2,
            "hasAnswer/f1": 5 / 6,
            "noAnswer/exactMatch": 1 / 3,
            "noAnswer/f1": 1 / 3,
        }
    )
    assert {name: len(each.rows) for name, each in result.summands.items()} == {
        "exactMatch": 5, "f1": 5, "hasAnswer/exactMatch": 2, "hasAnswer/f1": 2,
        "noAnswer/exactMatch": 3, "noAnswer/f1": 3,
    }  # fmt: skip
    better, _ = run(tmp_path, ("Paris", ["Paris"]), ("Paris", ["Paris"]), ("", []), ("", []), ("x", []))
    compared = compare(better.summands["f1"], result.summands["f1"])
    assert compared
    assert compared.p_value > 0.05


def test_where_all_questions_are_of_one_kind_there_are_no_parts(tmp_path: Path) -> None:
    for references in (["Paris"], []):
        result, _ = run(tmp_path, ("Paris", references), ("", references), metrics=("f1",))
        assert result.metrics == {"f1": 0.5}


def test_without_a_word_for_it_only_an_empty_answer_says_that_there_is_none(tmp_path: Path) -> None:
    result, _ = run(tmp_path, ("unanswerable", []), ("", []))
    assert result.metrics["exactMatch"] == 0.5


def test_the_model_is_asked_about_the_text_and_told_what_to_say(tmp_path: Path) -> None:
    _, plain = run(tmp_path, ("", ["Paris"]))
    _, told = run(tmp_path, ("", ["Paris"]), noAnswer="no answer")
    _, own = run(tmp_path, ("", ["Paris"]), template="{{ context }}|{{ question }}")
    (first,), (second,), (third,) = ([shown_prompt(each) for each in asked.asked] for asked in (plain, told, own))
    assert first == f"Answer the question with words from the text.\n\nText: {CONTEXT}\n\nQuestion: Question 0?"
    assert "If the answer is not in the text, say only: no answer\n\nText: " in second
    assert third == f"{CONTEXT}|Question 0?"


def test_articles_as_published_are_read(tmp_path: Path) -> None:
    question = {"id": "1", "question": "Where?", "answers": [{"text": "Paris", "answer_start": CONTEXT.index("Paris")}]}
    hard = {"id": "2", "question": "When?", "answers": [], "is_impossible": True}
    article = {"title": "Tower", "paragraphs": [{"context": CONTEXT, "qas": [question, hard]}]}
    path = tmp_path / "dev.json"
    path.write_text(json.dumps({"version": "v2.0", "data": [article]}))
    loaded = read_suite(suite(uri=f"file://{path}", template="{{ title }}: {{ question }}"))
    assert [each.messages[0].content for each in loaded.records] == ["Tower: Where?", "Tower: When?"]
    assert [each.references for each in loaded.records] == [("Paris",), ("",)]
    assert loaded.empty == 0


def test_a_name_that_a_record_does_not_have_is_told(tmp_path: Path) -> None:
    uri = written(tmp_path, ["Paris"], ["Paris"])
    with pytest.raises(DataError, match="2 records cannot be used: line 1, line 2: the template: 'topic' is undefined"):
        read_suite(suite(uri=uri, template="{{ topic }}"))
    assert read_suite(suite(uri=written(tmp_path, ["Paris"], topic="a"), template="{{ topic }}")).records


def test_parts_are_known_as_metrics_that_there_may_be() -> None:
    one = suite(metrics=("f1",))
    assert one.metric_names() == ("squad/f1",)
    assert one.may_give("squad/noAnswer/f1")
    for other in ("squad/noAnswer/exactMatch", "squad/other/f1", "else/noAnswer/f1", "squad/exactMatch"):
        assert not one.may_give(other)
    with pytest.raises(ValidationError, match="metrics names a metric twice"):
        suite(metrics=("f1", "f1"))
