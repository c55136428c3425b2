"""A suite that runs code has no network: what it cannot reach is told when it is applied."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders import manifest
from tunesmith_api.errors import explain
from tunesmith_api.resources import parse

TASKS = {"tasks": ["sums"], "taskUris": ["pvc://data/tasks"]}
SPEC: dict[str, Any] = {
    "target": {"fineTuneJob": "bot"},
    "suites": [{"name": "code", "harness": TASKS | {"runsCode": True}}],
    "report": {"uri": "pvc://reports/bot"},
}
ENDPOINT = {"endpoint": {"url": "http://bot/v1", "model": "bot"}}


def test_volumes_are_all_that_it_reaches() -> None:
    for target in ({"uri": "pvc://models/bot"}, {"uri": "pvc://models/a", "adapter": "finetunejob://b"}):
        parse(manifest("EvalJob", "bot", SPEC | {"target": target, "baseline": {"uri": "file:///models/bot"}}))
    # Without code the same may be anywhere.
    suites = [{"name": "tasks", "harness": TASKS | {"taskUris": ["s3://data/tasks"]}}]
    parse(manifest("EvalJob", "bot", SPEC | {"suites": suites, "target": ENDPOINT, "report": {"uri": "s3://a/b"}}))


def _inline(uri: str) -> dict[str, Any]:
    config = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": [uri]}}}
    inline = {"tasks": ["own"], "inlineTasks": [{"name": "own", "config": config}], "runsCode": True}
    return {"suites": [{"name": "code", "harness": inline}]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"target": {"modelServe": "bot"}}, "target names an endpoint"),
        ({"target": ENDPOINT}, "target names an endpoint"),
        ({"target": {"uri": "hf://org/bot"}}, "target names hf://org/bot"),
        ({"baseline": {"uri": "s3://models/bot"}}, "baseline names s3://models/bot"),
        ({"baseline": {"uri": "pvc://models/a", "adapter": "hf://org/lora"}}, "baseline names hf://org/lora"),
        ({"report": {"uri": "s3://reports/bot"}}, "report names s3://reports/bot"),
        (_inline("s3://data/sums.jsonl"), "suites[code].harness names s3://data/sums.jsonl"),
    ],
)
def test_all_else_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        parse(manifest("EvalJob", "bot", SPEC | changes))
    (sentence,) = explain(refused.value)
    assert "suite code runs code (harness.runsCode) where there is no network, and " + told in sentence
    assert "put it on pvc://, or put the suite into an EvalJob of its own" in sentence
