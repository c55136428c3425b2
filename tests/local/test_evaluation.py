"""An evaluation that is killed again and again ends as if nothing had been, and asks nothing twice."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

KILLS = 10
QUESTIONS = 120
CONCURRENCY = 2
SECONDS_AN_ANSWER = 0.05
DEADLINE_SECONDS = 120


class Respondent(ThreadingHTTPServer):
    """Answers each question in its own words, and knows what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []

    def handle_error(self, *_: Any) -> None:
        """Pass over a client that is gone: it was killed."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Respondent

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"]
        self.server.asked.append(question)
        time.sleep(SECONDS_AN_ANSWER)
        answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": f"{question} indeed"}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def respondent() -> Iterator[Respondent]:
    server = Respondent()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def config(folder: Path, url: str) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"q{n} indeed" * (n % 2)}]}
        for n in range(1, QUESTIONS + 1)
    ]
    rows = [row for row in rows if row["messages"][1]["content"]] + [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "no"}]}
        for n in range(2, QUESTIONS + 1, 2)
    ]
    data = folder / "questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "live", "uid": "u", "attempt": 1},
        "target": {"uri": url, "endpoint": {"url": url, "model": "m", "maxConcurrency": CONCURRENCY}},
        "suites": [
            {"name": "qa", "golden": {"uri": f"file://{data}", "format": "messages", "metrics": ["exactMatch", "f1"]}}
        ],
        "report": {"uri": f"file://{folder}/report"},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    return path


def start(folder: Path, path: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"TUNESMITH_CONFIG": str(path), "TUNESMITH_PROGRESS": str(folder / "progress.json")}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tunesmith_runtime"], env=environment, stdout=log, stderr=log, process_group=0
        )


def kept(folder: Path) -> set[str]:
    """Return the questions whose answers are on the disk."""
    path = folder / "report-answers" / "answers.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = set()
    for line in lines:
        try:
            found.add(json.loads(line)["answer"].split()[0])
        except ValueError:  # cut off by the kill
            continue
    return found


def results(folder: Path) -> Any:
    return json.loads((folder / "report" / "results.json").read_text())["results"]


def test_killed_ten_times_it_ends_with_the_same_results_and_asks_nothing_twice(
    tmp_path: Path, respondent: Respondent
) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    for folder in (calm, wild):
        folder.mkdir()
    path = config(calm, respondent.url)
    assert start(calm, path).wait(DEADLINE_SECONDS) == 0, (calm / "log.txt").read_text()
    assert Counter(respondent.asked) == Counter(f"q{n}" for n in range(1, QUESTIONS + 1))
    respondent.asked.clear()

    path, moments = config(wild, respondent.url), random.Random(7)
    for _ in range(KILLS):
        before, process = len(respondent.asked), start(wild, path)
        known = kept(wild)
        # Somewhere among the next answers, so that there is something to lose.
        upto = before + moments.randint(1, QUESTIONS // KILLS - 4)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(respondent.asked) < upto and process.poll() is None:
            assert time.monotonic() < deadline, (wild / "log.txt").read_text()
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 2 * SECONDS_AN_ANSWER))
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGKILL
        assert not known & set(respondent.asked[before:]), "what had been answered was asked again"
    assert not (wild / "report").exists()
    before, known = len(respondent.asked), kept(wild)

    assert start(wild, path).wait(DEADLINE_SECONDS) == 0, (wild / "log.txt").read_text()

    assert not known & set(respondent.asked[before:])
    # Only what was on its way when it was killed.
    assert len(respondent.asked) <= QUESTIONS + KILLS * CONCURRENCY
    assert results(wild) == results(calm)
    assert results(calm)[0]["value"] == 0.5
