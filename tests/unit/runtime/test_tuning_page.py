"""The page of a run shows its trials."""

import re
from pathlib import Path
from typing import Any

from tests.unit.runtime.test_tuning_drawing import run
from tunesmith_runtime.train.history import History, history_file
from tunesmith_runtime.train.report import render, write_so_far
from tunesmith_runtime.train.tuning.drawing import folder_of
from tunesmith_runtime.train.tuning.table import Table

TUNING: dict[str, Any] = {
    "best": 2,
    "trials": [
        {
            "number": 1,
            "parameters": {"training.learningRate": "1e-05"},
            "state": "Failed",
            "steps": 3,
            "message": "full",
        },
        {
            "number": 2,
            "parameters": {"training.learningRate": "0.0003"},
            "state": "Succeeded",
            "steps": 40,
            "value": 1.25,
            "step": 30,
        },
    ],
}


def test_the_trials_are_a_table_in_which_the_best_stands_out() -> None:
    page = render([{"step": 1, "loss": 2.0}], {"run": {"name": "bot"}, "tuning": TUNING})
    (section,) = re.findall(r"<h2>Trials</h2>(.*?)</section>", page, re.DOTALL)
    cells = re.findall(r'<td class="number">(.*?)</td>', section)
    assert cells == [
        *("1", "1e-05", "Failed", "3", "full"),
        *(f"<strong>{each}</strong>" for each in ("2", "0.0003", "Succeeded", "40", "1.25 at step 30")),
    ]
    assert "Trial 2 was best: all else on this page is its own." in section


def test_a_run_without_trials_has_no_such_table() -> None:
    assert "Trials" not in render([{"step": 1, "loss": 2.0}], {"run": {"name": "bot"}})


def test_while_trials_run_the_page_is_that_of_the_best_so_far(tmp_path: Path) -> None:
    config = run({"trials": 2}, checkpoints={"uri": f"file://{tmp_path}", "everySteps": 4, "keep": 1})
    assert Table.peek(config) is None
    assert write_so_far(config, tmp_path / "page.html") == 1

    table = Table.open(config, "data-1")
    for trial, value in zip(table.trials, (2.5, 1.5), strict=True):
        trial.state, trial.steps, trial.reports = "Running", 4, [(4, value)]
        History(history_file(folder_of(config, trial.number))).begin(4, [{"step": 4, "eval_loss": value}])
    table.save()

    assert write_so_far(config, tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text()
    assert "Trial 2 was best" in page
    assert "1.5 at step 4" in page
