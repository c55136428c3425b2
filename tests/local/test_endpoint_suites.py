"""Suites that ask endpoints, against the built-in engine with a tiny model: the target, and in one case the judge."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import make_tiny_model
from tunesmith_api.contract import CONFIG_VARIABLE, PROGRESS_VARIABLE, EvaluateResult, EvaluateRun, ServeRun
from tunesmith_runtime.evaluate.evaluating import evaluate
from tunesmith_runtime.progress import ProgressReporter

RUN = {"namespace": "default", "name": "bot", "uid": "u", "attempt": 1}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a tiny model under the name bot."""
    folder = tmp_path_factory.mktemp("served")
    make_tiny_model(folder / "model", ["The sky is blue, and the earth goes round the sun."] * 8)
    model = f"file://{folder}/model"
    config = ServeRun.model_validate({"run": {"kind": "ModelServe", **RUN}, "model": model, "port": 0})
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    files = {CONFIG_VARIABLE: str(folder / "config.json"), PROGRESS_VARIABLE: str(folder / "progress.json")}
    reporter = ProgressReporter(folder / "progress.json")
    with (folder / "log").open("w") as log:
        engine = subprocess.Popen(
            [sys.executable, "-m", "tunesmith_runtime"],
            env={**os.environ, **files, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 180
        while not (found := reporter.read()).url:
            assert engine.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield f"{found.url}/v1"
    finally:
        engine.terminate()
        assert engine.wait(30) == 0, (folder / "log").read_text()[-2000:]


def run(folder: Path, url: str, suite: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> EvaluateResult:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    document = {
        "run": {"kind": "EvalJob", **RUN},
        "target": {"uri": url, "endpoint": {"url": url, "model": "bot"}},
        "suites": [suite],
        "report": {"uri": f"file://{folder}/report"},
    }
    return evaluate(EvaluateRun.model_validate_json(json.dumps(document)), ProgressReporter(folder / "progress.json"))


def test_the_engine_under_load(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = {"requests": 6, "warmupRequests": 1, "concurrency": 2, "maxNewTokens": 12, "promptWords": 20}
    result = run(tmp_path, url, {"name": "speed", "performance": load}, monkeypatch)
    found = {each.metric.partition("/")[2]: each.value for each in result.results}
    assert not result.problems
    assert found["errorRate"] == 0
    assert 0 < found["timeToFirstTokenP50"] <= found["latencyP50"] <= found["latencyP99"]
    assert found["tokensPerSecond"] > 0
    assert found["streamTokensPerSecond"] > 0
    lines = (tmp_path / "report/samples/speed.target.jsonl").read_text().splitlines()
    assert all(0 < json.loads(line)["tokens"] <= 12 for line in lines)
    assert json.loads((tmp_path / "report/results.json").read_text())["notes"] == [], "the engine counts its tokens"


def test_a_judge_that_babbles_is_told(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "q.jsonl").write_text('{"text": "What colour is the sky?"}\n')
    judge = {
        "uri": f"file://{tmp_path}/q.jsonl",
        "format": "text",
        "endpoint": {"url": url, "model": "bot"},
        "maxNewTokens": 4,
    }
    result = run(tmp_path, url, {"name": "good", "judge": judge}, monkeypatch)
    (problem,) = result.problems
    assert problem.startswith("good: the judge bot gives no verdict in 1 of 1 replies; it said, for one: ")
