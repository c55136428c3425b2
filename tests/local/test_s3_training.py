"""Training from a bucket into a bucket, also when it is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.home import free_port
from tests.local.pods import Pods
from tests.s3 import BUCKET, S3Server, use
from tests.tiny import make_tiny_model
from tunesmith_api.contract import EvaluateRun, TrainRun
from tunesmith_runtime import storage
from tunesmith_runtime.evaluate.evaluating import evaluate
from tunesmith_runtime.models.lineage import model_digest
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.running import run

DEADLINE_SECONDS = 900
QUESTIONS = {f"What is the code of item {number}?": f"The code is {number * 7}." for number in range(24)}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    server = S3Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """Give a bucket with a base model and data, and nothing else in reach of the run."""
    use(monkeypatch, server)
    monkeypatch.delenv("TUNESMITH_VOLUMES", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server.empty()
    texts = [f"{question} {answer} user assistant" for question, answer in QUESTIONS.items()]
    base = make_tiny_model(tmp_path / "base", texts)
    server.files.put(str(base), f"{BUCKET}/models/base", recursive=True)
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in QUESTIONS.items()
    ]
    server.write({"data/train.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    return server


def train_run(name: str, attempt: int) -> dict[str, Any]:
    return {
        "version": 1,
        "type": "train",
        "run": {"kind": "FineTuneJob", "namespace": "default", "name": name, "uid": f"uid-{name}", "attempt": attempt},
        "model": "s3://workshop/models/base",
        "data": {
            "train": [{"name": "items", "uri": "s3://workshop/data/train.jsonl", "format": "messages"}],
            "maxLength": 64,
        },
        "method": {"adapter": {"type": "full"}},
        "training": {"learningRate": 0.005, "maxSteps": 60},
        "checkpoints": {"uri": f"s3://workshop/checkpoints/uid-{name}", "everySteps": 5, "keep": 2},
        "output": {"uri": f"s3://workshop/models/{name}"},
    }


def test_a_run_that_is_killed_goes_on_in_another_pod_to_the_same_model(s3: S3Server, tmp_path: Path) -> None:
    config = TrainRun.model_validate_json(json.dumps(train_run("whole", 1)))
    whole = run(config, ProgressReporter(tmp_path / "whole.json"))

    with _pod(tmp_path / "first", train_run("killed", 1)) as first:
        _wait_until_first_checkpoint(s3, first)
        first.send_signal(signal.SIGKILL)
    assert s3.names("models/killed") == []
    second = _pod(tmp_path / "second", train_run("killed", 2))
    assert second.wait(DEADLINE_SECONDS) == 0, (tmp_path / "second" / "log").read_text()

    document = ProgressReporter(tmp_path / "second" / "progress.json").read()
    assert document.resumed_from_step is not None
    assert 5 <= document.resumed_from_step < 60
    assert document.checkpoint is not None
    assert document.checkpoint.uri == "s3://workshop/checkpoints/uid-killed/checkpoint-60"
    published = storage.model_path("s3://workshop/models/killed")
    assert model_digest(published) == whole.model.digest
    assert json.loads((published / "lineage.json").read_text())["digest"] == whole.model.digest
    assert {name.partition("/")[0] for name in s3.names("checkpoints/uid-killed")} == {"checkpoint-55", "checkpoint-60"}

    report = _evaluation(s3, tmp_path)
    assert report["target"]["digest"] == whole.model.digest


def test_two_pods_share_nothing_but_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    config = train_run("pair", 1) | {"workers": 2, "deepspeed": {"zeroStage": 2}}
    config["training"]["maxSteps"] = 5
    pair = _pair(tmp_path / "pair", config)

    assert pair.progress().state == "Succeeded"
    written = s3.names("checkpoints/uid-pair/checkpoint-5")
    assert sorted(name for name in written if name.endswith("optim_states.pt")) == [
        "global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "global_step5/zero_pp_rank_1_mp_rank_00_optim_states.pt",
    ]
    assert {"rng_state_0.pth", "rng_state_1.pth", "tunesmith.json"} <= set(written)
    assert {name.partition("/")[0] for name in s3.names("checkpoints/uid-pair")} == {"checkpoint-5"}
    assert "model.safetensors" in s3.names("models/pair")


def _pair(folder: Path, config: dict[str, Any]) -> Pods:
    """Run a head and a worker to their end, on machines that are new to the run; return the head's pod."""
    folder.mkdir()
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # Ray's sockets lie there, and may not have long names
        machines = [Path(short, name) for name in ("a", "b")]
        for machine in machines:
            machine.mkdir()
        port = free_port()
        head, worker = (Pods(folder, config, {"TMPDIR": str(machine)}, port) for machine in machines)
        with head.head() as first, worker.worker() as second:
            assert first.wait(DEADLINE_SECONDS) == 0, head.logs()
            assert second.wait(60) == 0, head.logs()
    return head


def _evaluation(s3: S3Server, folder: Path) -> dict[str, Any]:
    """Evaluate the model from the bucket and return what the published report says."""
    rows = [{"prompt": question, "completion": answer} for question, answer in list(QUESTIONS.items())[:2]]
    s3.write({"data/golden.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    document = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "bot-eval", "uid": "u", "attempt": 1},
        "target": {"uri": "s3://workshop/models/killed"},
        "suites": [
            {
                "name": "codes",
                "golden": {"uri": "s3://workshop/data/golden.jsonl", "metrics": ["exactMatch"], "maxNewTokens": 2},
            }
        ],
        "batchSize": 2,
        "report": {"uri": "s3://workshop/reports/bot"},
    }
    config = EvaluateRun.model_validate_json(json.dumps(document))
    result = evaluate(config, ProgressReporter(folder / "evaluation.json"))
    assert result.report == "s3://workshop/reports/bot/report.html"
    assert s3.names("reports/bot") == ["report.html", "results.json", "samples/codes.target.jsonl"]
    found: dict[str, Any] = json.loads(s3.read("reports/bot/results.json"))
    return found


def _pod(folder: Path, config: dict[str, Any]) -> "subprocess.Popen[bytes]":
    """Start the runtime as a pod does: with a temporary folder of its own."""
    (folder / "tmp").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    own = {
        "TUNESMITH_CONFIG": str(folder / "config.json"),
        "TUNESMITH_PROGRESS": str(folder / "progress.json"),
        "TMPDIR": str(folder / "tmp"),
    }
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tunesmith_runtime"], env={**os.environ, **own}, stdout=log, stderr=log
        )


def _wait_until_first_checkpoint(s3: S3Server, pod: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any(name.endswith("/tunesmith.json") for name in s3.names("checkpoints/uid-killed")):
        assert pod.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.05)
