"""Stands in for the runtime in tests of the operator: reports as a run does, and does what $STANDIN says.

$STANDIN is JSON: `seconds` that the run takes, or that a server takes for an answer; `exit` code to end with, `memory`
in MiB to use up, `failure` to report, a file that it `writes`, the value `f1` of its metric; of a server whether it is
`deaf` (never ready), of how many requests one fails (`failing`), and with which arguments it `calls` the first tool
that it is offered. It answers what that said, else "fine".
"""

import http.server
import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tunesmith_api.contract import (
    CONFIG_VARIABLE,
    EvaluateResult,
    EvaluateRun,
    GatewayRun,
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
            serve(config, wanted)
        case GatewayRun():
            raise NotImplementedError("tests have the gateway itself")
    return 0


def train(config: TrainRun, seconds: float, reporter: ProgressReporter) -> None:
    for step in range(STEPS + 1):
        training = TrainingProgress(step=step, total_steps=STEPS, percent=100 * step // STEPS, loss=1 / (step + 1))
        kept = CheckpointRecord(step=step, uri=f"{config.checkpoints.uri}/checkpoint-{step}") if step else None
        reporter.update(state="Running", stage="training", training=training, checkpoint=kept)
        time.sleep(seconds / STEPS)
    model = PublishedModel(uri=config.output.uri, digest="sha256:1")
    reporter.update(state="Succeeded", stage="", result=TrainResult(model=model))


def message(body: dict[str, Any], arguments: dict[str, Any] | None) -> dict[str, Any]:
    """Say what a tool has said, call one, or say that it is fine."""
    said = {"role": "assistant", "content": "fine"}
    last = body["messages"][-1]
    if last["role"] == "tool":
        return said | {"content": last["content"]}
    if arguments is None or not body.get("tools"):
        return said
    function = {"name": body["tools"][0]["function"]["name"], "arguments": json.dumps(arguments)}
    return said | {"content": None, "tool_calls": [{"id": "call-1", "type": "function", "function": function}]}


def serve(config: ServeRun, wanted: dict[str, Any]) -> None:
    seconds, failing = float(wanted.get("seconds", 0)), int(wanted.get("failing", 0))
    count = itertools.count(1)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, {"status": "ok"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
            if failing and next(count) % failing == 0:
                self.answer(500, {"error": {"message": "something broke"}})
            elif body.get("stream"):
                self.stream([choice | {"delta": {"content": word}} for word in ("fi", "ne")])
            else:
                time.sleep(seconds)
                choice["message"] = message(body, wanted.get("calls"))
                self.answer(200, {"model": body["model"], "choices": [choice]})

        def stream(self, choices: list[dict[str, Any]]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for choice in choices:
                time.sleep(seconds / len(choices))
                self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def answer(self, status: int, body: dict[str, Any]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = False  # what is under way is finished

        def stop(self) -> bool:
            threading.Thread(target=self.shutdown).start()
            return True

    if not wanted.get("deaf"):
        Path(os.environ["TUNESMITH_READY"]).touch()
    address = (os.environ["TUNESMITH_HOST"], config.port)
    with Server(address, Handler) as server, process.finishing(server.stop, config.grace_seconds):
        server.serve_forever()


if __name__ == "__main__":
    process.run(main)
