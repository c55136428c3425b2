"""What an evaluation publishes of classes and streams."""

import json
import re
from pathlib import Path
from typing import Any

from tests.tiny import make_tiny_model
from tunesmith_api.contract import EvaluateResult, EvaluateRun
from tunesmith_runtime.evaluate.evaluating import evaluate
from tunesmith_runtime.progress import ProgressReporter

LABELS = ["ham", "<i>spam</i>"]


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file://{path}"


def run(folder: Path, target: Path, baseline: Path, *suites: dict[str, Any], **settings: Any) -> EvaluateResult:
    document = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "mail-eval", "uid": "u", "attempt": 1},
        "target": {"uri": f"file://{target}"},
        "baseline": {"uri": f"file://{baseline}"},
        "suites": list(suites),
        "report": {"uri": f"file://{folder}/out/report"},
        **settings,
    }
    return evaluate(EvaluateRun.model_validate_json(json.dumps(document)), ProgressReporter(folder / "progress.json"))


def test_confusion_matrices_are_in_the_results_and_in_the_report(tmp_path: Path, tiny_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", ["quite other words"], layers=1)
    rows = [{"text": f"Text {number}", "label": LABELS[number % 2]} for number in range(5)]
    mail = {
        "name": "mail",
        "classification": {
            "uri": write(tmp_path / "mail.jsonl", *rows),
            "labels": LABELS,
            "metrics": ["accuracy", "f1Macro", "mcc", "auc"],
            "classMetrics": ["f1"],
            "maxNewTokens": 2,
        },
    }
    gates = [{"metric": "mail/ham/f1", "min": 0.0}, {"metric": "mail/auc", "min": 0.0}]
    result = run(tmp_path, tiny_path, other, mail, gates=gates)
    by_name = {each.metric: each for each in result.results}
    assert by_name.keys() == {"mail/ham/f1", "mail/auc", "mail/accuracy", "mail/f1Macro", "mail/mcc"}
    assert by_name["mail/auc"].p_value is not None
    assert by_name["mail/auc"].ci95 is not None
    assert by_name["mail/f1Macro"].p_value is not None

    published = json.loads((tmp_path / "out/report/results.json").read_text(encoding="utf-8"))
    assert published["verdict"] == "Passed"
    matrices = published["confusionMatrices"]["mail"]
    assert matrices.keys() == {"target", "baseline"}
    for matrix in matrices.values():
        assert matrix["labels"] == LABELS
        assert [sum(counts) for counts in matrix["counts"]] == [3, 2]
    accuracy = sum(matrices["target"]["counts"][place][place] for place in range(2)) / 5
    assert accuracy == by_name["mail/accuracy"].value

    page = (tmp_path / "out/report/report.html").read_text(encoding="utf-8")
    assert "Confusion matrix of the target" in page
    assert "Confusion matrix of the baseline" in page
    assert "<i>spam" not in page
    assert "none of them" in page
    shown = re.search(r"Confusion matrix of the target.*?<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert shown
    cells = [int(each) for each in re.findall(r">(\d+)<", shown[1])]
    assert cells == [count for counts in matrices["target"]["counts"] for count in counts]
    samples = (tmp_path / "out/report/samples/mail.target.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(samples[0])
    assert {"given", "probability", "answer", "references"} <= first.keys()
    assert 0 < first["probability"] < 1


def test_a_gate_on_a_stream_or_a_kind_of_question_is_judged(tmp_path: Path, tiny_path: Path) -> None:
    texts = [{"text": "The sky is blue.", "source": "web"}, {"text": "A spider.", "source": "books"}]
    prose = {"uri": write(tmp_path / "prose.jsonl", *texts), "groupBy": "source"}
    empty: dict[str, Any] = {"text": [], "answer_start": []}
    answers = {"text": ["blue"], "answer_start": [11]}
    questions = [{"question": "?", "context": "The sky is blue.", "answers": each} for each in (empty, answers)]
    squad = {"uri": write(tmp_path / "squad.jsonl", *questions), "maxNewTokens": 2}
    gates = [
        {"metric": "prose/web/perplexity", "min": 1.0},
        {"metric": "squad/noAnswer/f1", "min": 0.0},
        {"metric": "prose/news/perplexity", "min": 1.0},
    ]
    suites = {"name": "prose", "perplexity": prose}, {"name": "squad", "extraction": squad}
    run(tmp_path, tiny_path, tiny_path, *suites, gates=gates)
    published = json.loads((tmp_path / "out/report/results.json").read_text(encoding="utf-8"))
    assert published["verdict"] == "Inconclusive"
    assert [gate["passed"] for gate in published["gates"]] == [True, True, False]
    assert published["gates"][2]["message"] == "prose/news/perplexity was not measured"


def test_a_chart_shows_the_whole_suite_first_and_not_all_of_many_parts(tmp_path: Path, tiny_path: Path) -> None:
    texts = [{"text": "The sky is blue.", "source": f"stream-{number:02}"} for number in range(30)]
    prose = {"uri": write(tmp_path / "prose.jsonl", *texts), "groupBy": "source"}
    gates = [{"metric": "prose/stream-29/perplexity", "min": 1.0}]
    run(tmp_path, tiny_path, tiny_path, {"name": "prose", "perplexity": prose}, gates=gates)
    page = (tmp_path / "out/report/report.html").read_text(encoding="utf-8")
    chart = page[page.index("<svg") : page.index("</svg>")]
    labels = re.findall(r">\s*((?:stream-\d+/)?perplexity)\s*<", chart)
    assert labels[:2] == ["perplexity", "stream-29/perplexity"]
    assert len(labels) == 16
    assert page.count("<td>prose/stream-") == 30
