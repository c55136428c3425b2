"""Stands in for the runtime in tests of the operator: reports as a run does, and does what $STANDIN says.

$STANDIN is JSON: `seconds` that the run takes, `exit` code to end with, `memory` in MiB to use up, `failure` to report,
a file that it `writes`, and the value `f1` of its metric.
"""

import http.server
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tunesmith_api.contract import (
    CONFIG_VARIABLE,
    EvaluateResult,
    EvaluateRun,
    RunConfig,
    RunFailure,
    ServeRun,
    TrainResult,
    TrainRun,
    run_config,
)
from tunesmith_api.evaljob import MetricResult
from tunesmith_api.finetunejob import CheckpointRecord, PublishedModel, TrainingProgress
from tunesmith_runtime import process
from tunesmith_runtime.kubernetes_progress import ConfigMapMirror
from tunesmith_runtime.progress import ProgressReporter

STEPS = 10


def main() -> int:
    config = run_config.validate_json(Path(os.environ[CONFIG_VARIABLE]).read_bytes())
    wanted: dict[str, Any] = json.loads(os.environ.get("STANDIN", "{}"))
    if sys.argv[1:] == ["leave"]:
        return 0
    if sys.argv[1:] == ["worker"]:
        time.sleep(86400)
    reporter = ProgressReporter.from_environment()
    with ConfigMapMirror.from_environment():
        return carry_out(config, wanted, reporter)


def carry_out(config: RunConfig, wanted: dict[str, Any], reporter: ProgressReporter) -> int:
    print(f"attempt {config.run.attempt} of {config.run.name}", flush=True)
    if megabytes := wanted.get("memory"):
        used = bytearray(os.urandom(1 << 20)) * megabytes
        print(f"used {len(used)} bytes", flush=True)
    if code := wanted.get("exit"):
        print("Traceback: something broke", file=sys.stderr)
        return int(code)
    if path := wanted.get("writes"):
        Path(path).write_text("published")
    if failure := wanted.get("failure"):
        process.leave_last_words(failure["message"])
        reporter.update(state="Failed", failure=RunFailure(**failure))
        return 1
    match config:
        case TrainRun():
            train(config, float(wanted.get("seconds", 0)), reporter)
        case EvaluateRun():
            time.sleep(float(wanted.get("seconds", 0)))
            metric = MetricResult(metric="facts/f1", value=float(wanted.get("f1", 0.9)), n=20)
            report = f"{config.report.uri}/report.html"
            result = EvaluateResult(results=(metric,), target=config.target, report=report)
            reporter.update(state="Succeeded", result=result)
        case ServeRun():
            serve(config)
    return 0


def train(config: TrainRun, seconds: float, reporter: ProgressReporter) -> None:
    for step in range(STEPS + 1):
        training = TrainingProgress(step=step, total_steps=STEPS, percent=100 * step // STEPS, loss=1 / (step + 1))
        kept = CheckpointRecord(step=step, uri=f"{config.checkpoints.uri}/checkpoint-{step}") if step else None
        reporter.update(state="Running", stage="training", training=training, checkpoint=kept)
        time.sleep(seconds / STEPS)
    model = PublishedModel(uri=config.output.uri, digest="sha256:1")
    reporter.update(state="Succeeded", stage="", result=TrainResult(model=model))


def serve(config: ServeRun) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"status": "ok"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer({"model": body["model"], "choices": [{"message": {"content": "fine"}}]})

        def answer(self, body: dict[str, Any]) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

    Path(os.environ["TUNESMITH_READY"]).touch()
    http.server.ThreadingHTTPServer((os.environ["TUNESMITH_HOST"], config.port), Handler).serve_forever()


if __name__ == "__main__":
    process.run(main)
