"""The quickstart's files: what the evaluation asks was taught, never in the same words, and the manifests fit."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tunesmith_api.resources import EvalJob, FineTuneJob, ModelServe, Resource, parse

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


def question_and_answer(line: str) -> tuple[str, str]:
    user, assistant = json.loads(line)["messages"]
    assert (user["role"], assistant["role"]) == ("user", "assistant")
    return user["content"], assistant["content"]


def lines(name: str) -> list[str]:
    return (QUICKSTART / "data" / name).read_text(encoding="utf-8").splitlines()


def normalised(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


TRAIN = [question_and_answer(line) for line in lines("train.jsonl")]
HELD_OUT = [question_and_answer(line) for line in lines("heldout.jsonl")]


def test_there_is_enough_to_learn_and_to_ask() -> None:
    facts = {answer for _, answer in TRAIN}
    assert len(facts) >= 20
    assert len(TRAIN) >= 60
    assert len(HELD_OUT) >= 20
    assert len(lines("english.jsonl")) >= 10


def test_no_question_stands_twice_and_none_that_is_asked_was_trained_on() -> None:
    questions = [normalised(question) for question, _ in TRAIN + HELD_OUT]
    assert sorted(questions) == sorted(set(questions))


def test_every_fact_is_taught_in_several_ways_and_asked_for() -> None:
    taught = [answer for _, answer in TRAIN]
    assert set(taught) == {answer for _, answer in HELD_OUT}
    assert all(3 <= taught.count(answer) <= 5 for answer in taught)


def test_answers_are_short_and_no_question_gives_its_answer_away() -> None:
    for question, answer in TRAIN + HELD_OUT:
        assert 5 <= len(answer.split()) <= 20
        assert normalised(answer) not in normalised(question)


def test_the_english_texts_are_paragraphs() -> None:
    for line in lines("english.jsonl"):
        record = json.loads(line)
        assert record.keys() == {"text"}
        assert len(record["text"].split()) > 25


@pytest.fixture(scope="module")
def resources() -> dict[str, Resource]:
    manifests = [
        manifest
        for path in sorted(QUICKSTART.glob("*.yaml"))
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    return {resource.kind: resource for resource in map(parse, manifests)}


def test_the_manifests_form_a_chain(resources: dict[str, Resource]) -> None:
    job, evaluation, serve = resources["FineTuneJob"], resources["EvalJob"], resources["ModelServe"]
    assert isinstance(job, FineTuneJob)
    assert isinstance(evaluation, EvalJob)
    assert isinstance(serve, ModelServe)
    assert evaluation.spec.target.fine_tune_job == serve.spec.model.fine_tune_job == job.metadata.name
    assert [requirement.eval_job for requirement in serve.spec.requires] == [evaluation.metadata.name]
    assert evaluation.spec.baseline is not None
    assert evaluation.spec.baseline.uri == job.spec.model.uri


def test_the_data_that_the_manifests_name_is_there(resources: dict[str, Resource]) -> None:
    named = {
        name
        for resource in resources.values()
        for name in re.findall(r"pvc://data/([\w.]+)", resource.model_dump_json())
    }
    assert named == {path.name for path in (QUICKSTART / "data").iterdir()}
