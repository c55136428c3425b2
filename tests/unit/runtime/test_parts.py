"""Suites that are measured apart and joined give what they give together."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.judge import JudgeServer
from tests.tiny import make_tiny_model
from tunesmith_api.contract import EvaluateRun, PartResult
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.evaluating import evaluate, evaluate_part
from tunesmith_runtime.evaluate.parts import RESULT
from tunesmith_runtime.progress import ProgressReporter

QUESTIONS = ["The sky is", "A spider has", "What colour is", "<b>legs</b>"]
Object = dict[str, Any]


@pytest.fixture(scope="module")
def other_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "other", ["quite other words for all"], layers=1)


@pytest.fixture
def suites(tmp_path: Path, judge: JudgeServer) -> list[Object]:
    """Return suites of most kinds; there is a tie, a blank text and a class that nobody answers."""
    files = {
        "qa": [{"prompt": each, "completion": "blue"} for each in QUESTIONS],
        "prose": [{"text": "The moon goes round the earth."}, {"text": "The sky is blue."}, {"text": " "}],
        "mail": [
            {"text": "Win!", "label": "spam"},
            {"text": "Hello", "label": "ham"},
            {"text": "Moon", "label": "ham"},
        ],
    }
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    qa = f"file://{tmp_path}/qa.jsonl"
    endpoint = {"url": judge.url, "model": "wise"}
    task = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "qa.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": ["blue", "eight"],
        "doc_to_target": "completion",
    }
    return [
        {"name": "texts", "perplexity": {"uri": f"file://{tmp_path}/prose.jsonl", "maxLength": 16}},
        {"name": "qa", "golden": {"uri": qa, "metrics": ["exactMatch", "f1", "bleu"], "maxNewTokens": 5}},
        {"name": "mail", "classification": {"uri": f"file://{tmp_path}/mail.jsonl", "labels": ["spam", "ham"]}},
        {"name": "tasks", "harness": {"tasks": ["own"], "inlineTasks": [{"name": "own", "config": task}]}},
        {"name": "duel", "judge": {"uri": qa, "endpoint": endpoint, "pairwise": True, "maxNewTokens": 4}},
    ]


def config(folder: Path, target: Path, suites: list[Object], **settings: Any) -> EvaluateRun:
    document = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "bot", "uid": "u", "attempt": 1},
        "target": {"uri": f"file://{target}"},
        "suites": suites,
        "report": {"uri": f"file://{folder}/report"},
        **settings,
    }
    return EvaluateRun.model_validate_json(json.dumps(document))


def measure(folder: Path, target: Path, suite: Object, **settings: Any) -> str:
    uri = f"file://{folder}/report-parts/u/{suite['name']}/result"
    run = config(folder, target, [suite], part=uri, **settings)
    assert evaluate_part(run, uri, ProgressReporter(folder / "progress.json")) == PartResult()
    return uri


def written(folder: Path) -> dict[str, str]:
    report = folder / "report"
    return {str(file.relative_to(report)): file.read_text() for file in report.rglob("*.*")}


@pytest.mark.parametrize("same", [False, True], ids=["another baseline", "the same baseline"])
def test_parts_that_are_joined_give_the_very_same_report(
    tmp_path: Path, tiny_path: Path, other_path: Path, suites: list[Object], *, same: bool
) -> None:
    whole, joined = tmp_path / "whole", tmp_path / "joined"
    for folder in (whole, joined):
        folder.mkdir()
    baseline = {"uri": f"file://{tiny_path if same else other_path}"}
    gates = [{"metric": "qa/f1", "min": 0.9}, {"metric": "texts/perplexity", "maxRegression": 0.5}]
    reporter = ProgressReporter(tmp_path / "progress.json")
    together = evaluate(config(whole, tiny_path, suites, baseline=baseline, gates=gates), reporter)

    # All but the second, in another order.
    some = (suites[4], *suites[2:4], suites[0])
    parts = {each["name"]: measure(joined, tiny_path, each, baseline=baseline) for each in some}
    apart = evaluate(config(joined, tiny_path, suites, baseline=baseline, gates=gates, parts=parts), reporter)

    assert {each.metric.split("/")[0] for each in together.results} == {each["name"] for each in suites}
    assert apart.model_copy(update={"report": together.report, "spent": together.spent}) == together
    pages = written(whole), written(joined)
    if same:  # nothing is asked of the judge
        assert pages[0] == pages[1]
    assert pages[0].keys() == pages[1].keys()
    assert {name: pages[0][name] == pages[1][name] for name in pages[0] if name.startswith("samples")} == {
        name: True for name in pages[0] if name.startswith("samples")
    }


def test_a_part_that_is_there_is_not_measured_again(tmp_path: Path, tiny_path: Path, suites: list[Object]) -> None:
    uri = measure(tmp_path, tiny_path, suites[1])
    before = (Path(uri.removeprefix("file://")) / RESULT).stat()
    assert measure(tmp_path, tmp_path / "no model", suites[1]) == uri
    assert (Path(uri.removeprefix("file://")) / RESULT).stat() == before


def test_what_a_part_could_not_measure_is_told_and_what_it_spent(
    tmp_path: Path, tiny_path: Path, other_path: Path, suites: list[Object], judge: JudgeServer
) -> None:
    judge.budget, judge.tokens = 2, 10
    suites[4]["judge"]["endpoint"] |= {"maxRetries": 0, "maxConcurrency": 1}
    baseline = {"uri": f"file://{other_path}"}
    parts = {"duel": measure(tmp_path, tiny_path, suites[4], baseline=baseline)}
    run = config(tmp_path, tiny_path, [suites[1], suites[4]], baseline=baseline, parts=parts)
    result = evaluate(run, ProgressReporter(tmp_path / "progress.json"))
    assert "duel: the judge of suite duel at" in result.problems[0]
    assert result.spent is not None
    assert result.spent.requests in {3, 4}, "two answers, a refusal, and perhaps one that was on its way"
    assert result.spent.tokens == 20
    assert {each.metric.split("/")[0] for each in result.results} == {"qa"}


@pytest.mark.parametrize("junk", ["", "[]", '{"target": 7}', None])
def test_a_part_that_is_gone_or_no_part_at_all_is_told(
    tmp_path: Path, tiny_path: Path, suites: list[Object], junk: str | None
) -> None:
    folder = tmp_path / "report-parts/u/qa/result"
    if junk is not None:
        folder.mkdir(parents=True)
        (folder / RESULT).write_text(junk)
    run = config(tmp_path, tiny_path, [suites[1]], parts={"qa": f"file://{folder}"})
    with pytest.raises(DataError, match="does not hold what suite qa has given") as raised:
        evaluate(run, ProgressReporter(tmp_path / "progress.json"))
    assert "delete the EvalJob and create it again" in raised.value.message
