"""An evaluation measures, judges and publishes a report; bad input is told before a model loads."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import make_tiny_model
from tunesmith_api.contract import EvaluateResult, EvaluateRun, SampleProgress
from tunesmith_runtime.errors import DataError, ModelError, NotWritableError, RunError
from tunesmith_runtime.evaluate.evaluating import evaluate
from tunesmith_runtime.models.loading import load_causal_lm
from tunesmith_runtime.progress import ProgressReporter

EVIL = "<script>alert('Q')</script> legs"
QUESTIONS = ["The sky is", "A spider has", "What colour is", EVIL]


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file://{path}"


def suites(folder: Path, answers: list[str] | None = None) -> list[dict[str, Any]]:
    rows = [
        {"prompt": question, "completion": answer}
        for question, answer in zip(QUESTIONS, answers or ["blue"] * 4, strict=True)
    ]
    texts = [{"text": "The moon goes round the earth."}, {"text": "The sky is blue."}, {"text": " "}]
    metrics = ["exactMatch", "f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL"]
    golden = {"uri": write(folder / "qa.jsonl", *rows), "metrics": metrics, "maxNewTokens": 5}
    perplexity = {"uri": write(folder / "texts.jsonl", *texts), "maxLength": 16}
    return [{"name": "texts", "perplexity": perplexity}, {"name": "qa", "golden": golden}]


def run(folder: Path, target: Path, **settings: Any) -> EvaluateResult:
    document = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "support-eval", "uid": "u", "attempt": 1},
        "target": {"uri": f"file://{target}", "digest": "sha256:target"},
        "suites": settings.pop("suites", None) or suites(folder),
        "batchSize": 3,
        "report": {"uri": f"file://{folder}/out/report"},
        **settings,
    }
    config = EvaluateRun.model_validate_json(json.dumps(document))
    return evaluate(config, ProgressReporter(folder / "progress.json"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def other_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "other"
    make_tiny_model(path, ["quite other words, and so another tokenizer"], layers=1)
    (path / "lineage.json").write_text('{"digest": "sha256:other"}')
    return path


@pytest.fixture(scope="module")
def answers(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the tiny model answers."""
    folder = tmp_path_factory.mktemp("answers")
    run(folder, tiny_path)
    return [sample["answer"] for sample in lines(folder / "out/report/samples/qa.target.jsonl")]


class Page(HTMLParser):
    """The page as a browser takes it: its tags, what they load, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loading = {"src", "srcset", "data", "action", "href", "xlink:href"}
        self.loads += [str(value) for name, value in attrs if name in loading and not str(value).startswith("#")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_target_and_baseline_are_measured_judged_and_published(
    tmp_path: Path, tiny_path: Path, other_path: Path, answers: list[str]
) -> None:
    gates = [
        {"metric": "qa/f1", "min": 0.9, "minImprovement": 0.5},
        {"metric": "texts/perplexity", "max": 1.5},
    ]
    baseline = {"uri": f"file://{other_path}"}
    result = run(tmp_path, tiny_path, suites=suites(tmp_path, answers), gates=gates, baseline=baseline)

    metrics = {each.metric: each for each in result.results}
    assert list(metrics)[:3] == ["texts/perplexity", "qa/f1", "qa/exactMatch"]
    assert (metrics["qa/exactMatch"].value, metrics["qa/f1"].value) == (1, 1)
    assert metrics["qa/f1"].baseline == 0
    assert metrics["qa/f1"].delta == 1
    assert (metrics["qa/f1"].n, metrics["texts/perplexity"].n) == (4, 2)
    # Four of four is no certainty, and four questions cannot tell two models apart.
    assert metrics["qa/exactMatch"].ci95 == pytest.approx((0.51, 1.0), abs=0.01)
    assert metrics["qa/exactMatch"].stderr == 0
    assert (metrics["qa/exactMatch"].p_value or 0) > 0.5, "McNemar's 0.125, corrected for eight metrics"
    low, high = metrics["texts/perplexity"].ci95 or ()
    assert low <= metrics["texts/perplexity"].value <= high
    assert result.target.digest == "sha256:target"
    assert result.baseline is not None
    assert result.baseline.digest == "sha256:other"
    assert result.report == f"file://{tmp_path}/out/report/report.html"

    folder = tmp_path / "out" / "report"
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()) == [
        "report.html",
        "results.json",
        "samples/qa.baseline.jsonl",
        "samples/qa.target.jsonl",
        "samples/texts.baseline.jsonl",
        "samples/texts.target.jsonl",
    ]
    assert sorted(file.name for file in folder.parent.iterdir()) == ["report", "report-answers"]
    summary = json.loads((folder / "results.json").read_text())
    assert summary["verdict"] == "Failed"
    assert summary["results"] == [each.to_json() for each in result.results]
    # The target has all answers right and the baseline none: there is no spread to tell an effect from.
    assert "texts/perplexity" in summary["minimumDetectableEffects"]
    assert "qa/f1" not in summary["minimumDetectableEffects"]
    first = lines(folder / "samples/qa.target.jsonl")[0]
    assert first == {
        "index": 0,
        "prompt": QUESTIONS[0],
        "answer": answers[0],
        "references": [answers[0]],
        "scores": first["scores"],
    }
    assert first["scores"]["exactMatch"] == 1
    assert set(first["scores"]) == {"exactMatch", "f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL"}
    assert lines(folder / "samples/texts.target.jsonl")[1].keys() == {"index", "text", "nll", "tokens"}

    document = ProgressReporter(tmp_path / "progress.json").read()
    assert document.samples == SampleProgress(done=12, total=12)
    assert document.state == "Running"


def test_the_report_says_it_all_and_loads_nothing(
    tmp_path: Path, tiny_path: Path, other_path: Path, answers: list[str]
) -> None:
    gates = [{"metric": "qa/f1", "min": 0.9}, {"metric": "texts/perplexity", "max": 1.5}]
    baseline = {"uri": f"file://{other_path}"}
    run(tmp_path, tiny_path, suites=suites(tmp_path, answers), gates=gates, baseline=baseline)
    page = Page(tmp_path / "out/report/report.html")
    for words in ("support-eval", "Failed", "qa/f1 is 1 and meets min 0.9", "texts/perplexity is ", "misses max 1.5"):
        assert words in page.text
    for words in (
        "95% interval",
        "0.5101 – 1",
        "Detectable",
        "Worst",
        "Most improved",
        "Most worsened",
        "All samples",
        "texts: 1 of 3 records left out for an empty answer or text.",
    ):
        assert words in page.text
    assert answers[0] in page.text
    assert EVIL in page.text
    assert page.tags.count("svg") == 4
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert page.loads == []


def test_without_gates_and_baseline_a_completed_evaluation_passes(tmp_path: Path, tiny_path: Path) -> None:
    result = run(tmp_path, tiny_path)
    assert result.baseline is None
    assert all(each.baseline is None and each.delta is None and each.p_value is None for each in result.results)
    page = Page(tmp_path / "out/report/report.html")
    assert "Passed" in page.text
    assert "Most improved" not in page.text


def test_a_model_compared_with_itself_is_measured_once_and_no_better(tmp_path: Path, tiny_path: Path) -> None:
    result = run(tmp_path, tiny_path, baseline={"uri": f"file://{tiny_path}/"})
    assert all((each.delta, each.p_value) == (0, 1) for each in result.results)
    assert ProgressReporter(tmp_path / "progress.json").read().samples == SampleProgress(done=6, total=6)


def test_a_new_evaluation_takes_the_place_of_the_old_report(tmp_path: Path, tiny_path: Path) -> None:
    run(tmp_path, tiny_path)
    (tmp_path / "out/report/samples/old.target.jsonl").write_text("")
    run(tmp_path, tiny_path)
    assert sorted(file.name for file in (tmp_path / "out/report/samples").iterdir()) == [
        "qa.target.jsonl",
        "texts.target.jsonl",
    ]


def test_a_broken_models_perplexity_is_left_out_with_a_note(tmp_path: Path, tiny_path: Path) -> None:
    broken = load_causal_lm(tiny_path)
    torch.nn.init.constant_(broken.model.norm.weight, float("nan"))
    path = Path(shutil.copytree(tiny_path, tmp_path / "broken"))
    broken.save_pretrained(path)
    gates = [{"metric": "texts/perplexity", "max": 5.0}]
    result = run(tmp_path, path, gates=gates)
    assert "texts/perplexity" not in [each.metric for each in result.results]
    assert "qa/f1" in [each.metric for each in result.results]
    assert lines(tmp_path / "out/report/samples/texts.target.jsonl")[0]["nll"] is None
    page = Page(tmp_path / "out/report/report.html")
    assert "Inconclusive" in page.text
    assert "The target's texts/perplexity is not a number, and the metric is left out." in page.text


def refused(error: type[RunError], folder: Path, target: Path, **settings: Any) -> str:
    with pytest.raises(error) as raised:
        run(folder, target, **settings)
    assert not raised.value.retryable
    assert not (folder / "out/report/report.html").exists()
    return raised.value.message


def test_a_bad_suite_is_told_before_the_model_is_looked_at(tmp_path: Path) -> None:
    both = suites(tmp_path)
    write(tmp_path / "qa.jsonl", {"question": "?", "answer": "!"})
    message = refused(DataError, tmp_path, tmp_path / "no-model", suites=both)
    assert "line 1: the columns are question, answer; format promptCompletion has prompt and completion" in message


def test_a_missing_model_and_a_missing_baseline_are_told(tmp_path: Path, tiny_path: Path) -> None:
    assert "no such folder" in refused(ModelError, tmp_path, tmp_path / "no-model")
    baseline = {"uri": f"file://{tmp_path}"}
    assert "has no config.json" in refused(ModelError, tmp_path, tiny_path, baseline=baseline)


def test_a_prompt_beyond_what_the_model_can_read_is_told(tmp_path: Path, tiny_path: Path) -> None:
    both = suites(tmp_path)
    write(tmp_path / "qa.jsonl", {"prompt": "short", "completion": "a"}, {"prompt": "x" * 510, "completion": "a"})
    message = refused(DataError, tmp_path, tiny_path, suites=both)
    assert "the prompt of record 2 has " in message
    assert "with maxNewTokens 5 that is more than the 512 that the model can read" in message


def test_a_report_folder_that_cannot_be_written_is_told_first(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file is in the way")
    assert "cannot be written" in refused(NotWritableError, tmp_path, tmp_path / "no-model")


def test_other_peoples_files_are_not_swept_away(tmp_path: Path, tiny_path: Path) -> None:
    (tmp_path / "out/report").mkdir(parents=True)
    (tmp_path / "out/report/thesis.txt").write_text("years of work")
    assert "holds files that were not published here" in refused(NotWritableError, tmp_path, tiny_path)
    assert (tmp_path / "out/report/thesis.txt").read_text() == "years of work"
