"""The manifest of the page on metrics is one."""

import re
from pathlib import Path

import pytest
import yaml

from tunesmith_api.metrics import METRICS
from tunesmith_api.resources import EvalJob, parse

PAGE = Path(__file__).parents[2] / "docs/how-to/evaluate-metrics.md"


@pytest.fixture(scope="module")
def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_its_manifest_is_valid(text: str) -> None:
    (manifest,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    job = parse(yaml.safe_load(manifest))
    assert isinstance(job, EvalJob)
    assert {suite.name for suite in job.spec.suites} == {gate.metric.partition("/")[0] for gate in job.spec.gates} | {
        "sums"
    }


def test_its_first_table_names_metrics_that_there_are(text: str) -> None:
    rows = re.findall(r"^\| [^`]+ \| `(?:golden|classification|extraction|perplexity)` \| (.*) \|", text, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named <= METRICS.keys()
    assert {"similarity", "mcc", "bitsPerByte"} <= named
