"""What a run leaves to look at."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.contract import RunCheckpoints, RunIdentity, TrainRun
from tunesmith_api.data import Dataset, TrainingData
from tunesmith_api.finetunejob import Output
from tunesmith_api.training import Method, Training
from tunesmith_runtime.train.curves import POINTS, thinned
from tunesmith_runtime.train.history import History, history_file
from tunesmith_runtime.train.report import publish, render, write_so_far

LINEAGE: dict[str, Any] = {
    "digest": "sha256:12ab",
    "baseModel": {"uri": "pvc://models/base", "digest": "sha256:34cd"},
    "records": {"records": 640, "tokens": 12_800},
    "config": {
        "method": {"type": "sft", "adapter": {"type": "lora"}},
        "data": {"train": [{"name": "tickets", "uri": "pvc://data/<tickets>.jsonl"}]},
    },
    "run": {"kind": "FineTuneJob", "namespace": "team", "name": "support-bot"},
}


def row(step: int, **more: Any) -> dict[str, Any]:
    return {
        "time": 1000.0 + 30 * step,
        "step": step,
        "epoch": step / 10,
        "loss": 4 / step,
        "learningRate": 1e-4,
        "tokensPerSecond": 900.0 + step,
        "memoryBytes": 3 * 2**30,
        "stepTime": {"data": 0.1, "forward": 0.4, "backward": 0.8},
        "streams": [{"name": f"stream-{number}", "loss": 1.0 / (number + 1)} for number in range(9)],
        **more,
    }


def test_the_page_shows_the_course_of_a_run_and_where_its_model_came_from() -> None:
    rows = [row(step) for step in range(1, 6)] + [row(6, evalLoss=0.5), row(7, evalLoss=0.5), row(8, evalLoss=0.75)]
    page = render(rows, LINEAGE)
    titles = re.findall("<h3>(.*)</h3>", page)
    assert titles == [
        "Loss",
        "Loss of each dataset",
        "Learning rate",
        "Tokens per second",
        "Seconds of a step",
        "Memory of a worker at most, GiB",
    ]
    assert page.count("<svg") == len(titles)
    figures = dict(re.findall(r'<tr><th>(.*?)</th><td class="number">(.*?)</td>', page))
    assert figures["Steps"] == "8"
    assert figures["Training loss, first and last"] == "4 → 0.5"
    assert figures["Validation loss, lowest"] == "0.5 at step 6"
    assert figures["Validation loss, last"] == "0.75"
    assert figures["Time"] == "3 min 30 s"
    assert figures["Memory of a worker at most"] == "3.00 GiB"
    assert "1 more datasets are in history.jsonl." in page
    assert "pvc://data/&lt;tickets&gt;.jsonl" in page


def test_the_page_shows_what_the_method_itself_measures() -> None:
    rows = [
        row(step, method={"reward": 0.1 * step, "rewards/chosen": 1.0, "rewards/rejected": -1.0}) for step in (2, 3)
    ]
    page = render([row(1), *rows], LINEAGE)
    assert re.findall("<h3>(rew.*)</h3>", page) == ["reward", "rewards"]
    assert re.findall(">(chosen|rejected)</span>", page) == ["chosen", "rejected"]


def test_the_page_loads_nothing_and_takes_its_colours_from_the_reader() -> None:
    page = render([row(1), row(2)], LINEAGE)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert re.search(r'(src|href)="http', page) is None
    assert "#0101f0" not in page
    assert "var(--series-1)" in page


def test_a_run_of_which_nothing_is_left_has_a_page_too() -> None:
    assert "The run left no history." in render([], {})


def test_the_page_names_workers_that_the_others_waited_for() -> None:
    assert "Others waited for pod-3." in render([row(1, stragglers=[{"name": "pod-3", "factor": 2.0}])], LINEAGE)


def test_page_and_history_are_published_beside_the_model(tmp_path: Path) -> None:
    history, staged = tmp_path / "scratch.jsonl", tmp_path / "model"
    staged.mkdir()
    (staged / "lineage.json").write_text(json.dumps(LINEAGE))
    history.write_text(json.dumps(row(1)) + "\n")
    publish(history, staged)
    assert sorted(file.name for file in staged.iterdir()) == ["history.jsonl", "lineage.json", "training.html"]
    publish(staged / "history.jsonl", staged)  # where it is already
    assert "support-bot" in (staged / "training.html").read_text()


def test_a_long_curve_is_drawn_by_its_means() -> None:
    points = [(float(step), float(step % 2)) for step in range(10 * POINTS)]
    drawn = thinned(points)
    assert len(drawn) == POINTS
    assert {value for _, value in drawn} == {0.5}
    assert drawn[-1][0] == 10 * POINTS - 1


def test_a_run_that_goes_on_has_a_page_of_what_it_has_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = TrainRun(
        run=RunIdentity(kind="FineTuneJob", namespace="team", name="support-bot", uid="u", attempt=1),
        model="pvc://models/base",
        data=TrainingData(train=(Dataset(name="tickets", uri="pvc://data/tickets.jsonl", format="text"),)),
        method=Method(),
        training=Training(),
        checkpoints=RunCheckpoints(uri=f"file://{tmp_path}/checkpoints", every_steps=2, keep=1),
        output=Output(uri="pvc://models/support-bot"),
    )
    page = tmp_path / "training.html"
    assert write_so_far(config, page) == 1
    assert capsys.readouterr().err == "error: no step has been reported on this machine\n"

    history = History(history_file(config.checkpoints.uri))
    history.begin(0)
    history.append(row(1))
    assert write_so_far(config, page) == 0
    assert "FineTuneJob team/support-bot" in page.read_text()
    assert "tickets (pvc://data/tickets.jsonl)" in page.read_text()
