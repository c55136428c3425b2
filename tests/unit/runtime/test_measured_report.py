"""What a user sees of the metrics of checkpoints once a run is over."""

import json
import re
from pathlib import Path
from typing import Any

from tunesmith_runtime.train.history import MEASURED, History, read
from tunesmith_runtime.train.report import render

ROWS: list[dict[str, Any]] = [
    {"step": 1, "loss": 4.0},
    {"step": 2, "loss": 3.0},
    {"step": 3, "loss": 2.0},
    # A process beside training was done with step 2 only now.
    {"step": 2, MEASURED: {"fresh/perplexity": 9.0, "old/perplexity": 5.0, "facts/f1": 0.5}},
    {"step": 4, "loss": 1.0, "time": 9.0},
    {"step": 4, MEASURED: {"fresh/perplexity": 11.0, "old/perplexity": 4.0, "facts/f1": 0.75}},
]


def test_each_metric_has_its_curves_and_its_best_value() -> None:
    page = render(ROWS, {"published": {"step": 2}})
    titles = re.findall("<h3>(.*)</h3>", page)
    assert titles == ["Loss", "perplexity", "facts/f1"]
    assert 'aria-label="perplexity over steps: fresh, old"' in page
    figures = dict(re.findall(r'<tr><th>(.*?)</th><td class="number">(.*?)</td>', page))
    assert figures["fresh/perplexity, best"] == "9 at step 2"
    assert figures["old/perplexity, best"] == "4 at step 4"
    assert figures["facts/f1, best"] == "0.75 at step 4"
    assert figures["Published weights"] == "those of step 2"
    assert figures["Steps"] == "4"


def test_a_run_that_goes_on_elsewhere_knows_the_metrics_of_before(tmp_path: Path) -> None:
    logged: list[dict[str, Any]] = [
        {"step": 2, "loss": 3.0},
        {"step": 2, MEASURED: {"fresh/perplexity": 9.0}},
        {"step": 9, MEASURED: {"fresh/perplexity": 1.0}},
    ]
    file = tmp_path / "history.jsonl"
    History(file).begin(4, logged)
    assert read(file) == [{"step": 2, "loss": 3.0}, {"step": 2, MEASURED: {"fresh/perplexity": 9.0}}]
    assert json.loads(file.read_text().splitlines()[1])[MEASURED] == {"fresh/perplexity": 9.0}
