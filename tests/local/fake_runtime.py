"""A runtime that keeps to the run contract and does nothing else, in milliseconds.

What a run does besides is told in control.json of its claim `control`, by the name of its resource:
steps, holdAt (stays at that step on the first attempt), holdSuite (stays at that suite, if it is measured apart, on the
first attempt), crashes (so many attempts end with code 3), failure, f1, deaf (to SIGTERM).
"""

import http.server
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

CONFIG = json.loads(Path(os.environ["TUNESMITH_CONFIG"]).read_text())
PROGRESS = Path(os.environ.get("TUNESMITH_PROGRESS", ""))
VOLUMES = Path(os.environ["TUNESMITH_VOLUMES"])
RUN = CONFIG["run"]


def path(uri: str) -> Path:
    return VOLUMES / uri.removeprefix("pvc://")


def report(**document: Any) -> None:
    part = PROGRESS.with_suffix(".part")
    part.write_text(json.dumps({"version": 1, **document}))
    part.replace(PROGRESS)


def told() -> dict[str, Any]:
    control = VOLUMES / "control" / "control.json"
    return dict(json.loads(control.read_text()).get(RUN["name"], {})) if control.exists() else {}


def train(control: dict[str, Any]) -> dict[str, Any]:
    saved = path(CONFIG["checkpoints"]["uri"]) / "step"
    saved.parent.mkdir(parents=True, exist_ok=True)
    first = int(saved.read_text()) if saved.exists() else 0
    total = control.get("steps", 4)
    for step in range(first + 1, total + 1):
        saved.write_text(str(step))
        training = {"step": step, "totalSteps": total, "percent": 100 * step // total, "loss": 1 / step}
        checkpoint = {"step": step, "uri": f"{CONFIG['checkpoints']['uri']}/checkpoint-{step}"}
        report(state="Running", stage="training", training=training, resumedFromStep=first, checkpoint=checkpoint)
        if step == control.get("holdAt") and RUN["attempt"] == 1:
            hold()
    output = path(CONFIG["output"]["uri"])
    output.mkdir(parents=True, exist_ok=True)
    (output / "training.html").write_text(f"{total} steps")
    training = {"step": total, "totalSteps": total, "percent": 100, "loss": 0.25}
    result = {"type": "train", "model": {"uri": CONFIG["output"]["uri"], "digest": "sha256:1"}}
    checkpoint = {"step": total, "uri": f"{CONFIG['checkpoints']['uri']}/checkpoint-{total}"}
    return {"training": training, "resumedFromStep": first, "checkpoint": checkpoint, "result": result}


def evaluate(control: dict[str, Any]) -> dict[str, Any]:
    if CONFIG.get("part"):
        return measure(control)
    sys.stderr.write(f"joins {' '.join(sorted(CONFIG.get('parts', {})))}\n")
    value = control.get("f1", 0.9)
    metric = {"metric": "facts/f1", "value": value, "baseline": 0.125, "delta": value - 0.125, "n": 20, "pValue": 0.01}
    target = {"uri": CONFIG["target"]["uri"], "digest": CONFIG["target"].get("digest")}
    report_uri = CONFIG["report"]["uri"] + "/report.html"
    path(report_uri).parent.mkdir(parents=True, exist_ok=True)
    path(report_uri).write_text("f1")
    return {"result": {"type": "evaluate", "results": [metric], "target": target, "report": report_uri}}


def measure(control: dict[str, Any]) -> dict[str, Any]:
    (suite,) = CONFIG["suites"]
    keys = sorted(name for name in os.environ if "KEY" in name)
    sys.stderr.write(f"measures {suite['name']} with keys {' '.join(keys)}\n")
    if suite["name"] == control.get("holdSuite") and RUN["attempt"] == 1:
        report(state="Running", stage="target: " + suite["name"], samples={"done": 1, "total": 2})
        hold()
    return {"result": {"type": "part"}}


def serve() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps({"model": body["model"], "choices": [{"message": {"content": "fine"}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

    server = http.server.HTTPServer(("127.0.0.1", CONFIG["port"]), Handler)
    report(state="Running", stage="serving", url=f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


def go_between() -> None:
    """Take up routes as a gateway does, and answer nothing."""
    file, generation = Path(os.environ["TUNESMITH_ROUTES"]), 0
    while True:
        routes = json.loads(file.read_text())
        if routes["generation"] != generation:
            generation = routes["generation"]
            url = f"http://127.0.0.1:{CONFIG['port']}"
            report(state="Running", stage="serving", url=url, gateway={"generation": generation})
            sys.stderr.write(f"{[(each['revision'], each['weight']) for each in routes['upstreams']]}\n")
        time.sleep(0.05)


def hold() -> None:
    sys.stderr.write("holding\n")
    while True:
        signal.pause()


def page(file: str) -> int:
    saved = path(CONFIG["checkpoints"]["uri"]) / "step"
    if not saved.exists():
        sys.stderr.write("error: no step has been reported on this machine\n")
        return 1
    Path(file).write_text(f"{saved.read_text()} steps")
    return 0


def main() -> int:
    if sys.argv[1:2] == ["page"]:
        return page(sys.argv[2])
    control = told()
    sys.stderr.write(f"attempt {RUN['attempt']} of {RUN['name']}\n")
    if control.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if RUN["attempt"] <= control.get("crashes", 0):
        sys.stderr.write("Traceback: boom\n")
        return 3
    if failure := control.get("failure"):
        report(state="Failed", failure=failure)
        return 1
    if CONFIG["type"] == "serve":
        serve()
    if CONFIG["type"] == "gateway":
        go_between()
    report(state="Succeeded", **(train(control) if CONFIG["type"] == "train" else evaluate(control)))
    return 0


sys.exit(main())
