"""Code that a task brings computes its metric, and reaches nothing: seen from a process of its own."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.contract import (
    ALLOW_CODE_VARIABLE,
    CONFIG_VARIABLE,
    PROGRESS_VARIABLE,
    TERMINATION_LOG_VARIABLE,
    EvaluateRun,
    PartResult,
    ProgressDocument,
)
from tunesmith_runtime.evaluate.evaluating import evaluate
from tunesmith_runtime.progress import ProgressReporter

TASK = r"""
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
test_split: test
output_type: generate_until
generation_kwargs: {until: ["\n"], max_gen_toks: 4}
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
process_results: !function own.score
metric_list:
- {metric: right, aggregation: mean, higher_is_better: true}
- {metric: sealed, aggregation: mean, higher_is_better: true}
"""
# Prints what it got hold of.
ATTEMPT = """
import ctypes, socket, sys

for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK):
    try:
        socket.socket(family, socket.SOCK_DGRAM)
        print(family.name)
    except OSError:
        pass
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
    print("connection")
except PermissionError:
    pass
libc = ctypes.CDLL(None)
if libc.syscall(425, 1, None) != -1:
    print("io_uring")
if libc.ptrace(0, 0, None, None) != -1:
    print("ptrace")
"""
# It tries while it is imported, and when it scores; in this process, and in one of its own.
CODE = """
import contextlib, io, multiprocessing, pathlib, runpy, subprocess, sys

HERE = pathlib.Path(__file__).parent
PORT = (HERE / "port").read_text()


def attempt():
    said = io.StringIO()
    sys.argv = ["attempt.py", PORT]
    with contextlib.redirect_stdout(said):
        runpy.run_path(str(HERE / "attempt.py"))
    command = [sys.executable, str(HERE / "attempt.py"), PORT]
    return said.getvalue() + subprocess.run(command, capture_output=True, text=True, check=True).stdout


ON_IMPORT = attempt()


def evaluate(program, found):
    found.append(eval(program, {}))


def run_in_a_process_of_its_own(program):
    # as metrics do that run what a model writes
    with multiprocessing.Manager() as manager:
        found = manager.list()
        process = multiprocessing.Process(target=evaluate, args=(program, found))
        process.start()
        process.join()
        return found[0]


def score(doc, results):
    right = run_in_a_process_of_its_own(doc["question"].rstrip("=")) == int(doc["answer"])
    return {"right": float(right), "sealed": float(ON_IMPORT + attempt() == "")}
"""


@pytest.fixture
def listener() -> Iterator[tuple[int, list[Any]]]:
    """Return a port at which somebody listens, and who has called."""
    calls: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            try:
                while True:
                    connection, caller = server.accept()
                    connection.close()
                    calls.append(caller)
            except OSError:  # closed
                pass

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], calls
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def document(folder: Path, model: Path, **settings: Any) -> dict[str, Any]:
    kind = {"tasks": ["sums"], "taskUris": [f"file://{folder}/tasks"], "runsCode": True}
    return {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "bot", "uid": "u", "attempt": 1},
        "target": {"uri": f"file://{model}"},
        "suites": [{"name": "code", "harness": kind}],
        "report": {"uri": f"file://{folder}/report"},
        **settings,
    }


def run(folder: Path, config: dict[str, Any], *, allowed: bool = True) -> "subprocess.CompletedProcess[str]":
    (folder / "config.json").write_text(json.dumps(config))
    told = {
        CONFIG_VARIABLE: str(folder / "config.json"),
        PROGRESS_VARIABLE: str(folder / "progress.json"),
        TERMINATION_LOG_VARIABLE: str(folder / "last words"),
        ALLOW_CODE_VARIABLE: "1" if allowed else "0",
    }
    return subprocess.run(
        [sys.executable, "-m", "tunesmith_runtime"], env=os.environ | told, capture_output=True, text=True, check=False
    )


def test_code_in_a_task_scores_answers_and_cannot_open_a_connection(
    tmp_path: Path, tiny_path: Path, listener: tuple[int, list[Any]]
) -> None:
    port, calls = listener
    rows = [{"question": "1+1=", "answer": "2"}, {"question": "10+10=", "answer": "20"}]
    files = {"sums.yaml": TASK, "own.py": CODE, "attempt.py": ATTEMPT, "port": str(port)}
    files["sums.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "tasks").mkdir()
    for name, text in files.items():
        (tmp_path / "tasks" / name).write_text(text)
    attempt = [sys.executable, str(tmp_path / "tasks/attempt.py"), str(port)]
    outside = subprocess.run(attempt, capture_output=True, text=True, check=True).stdout.split()
    assert {"AF_INET", "connection"} <= set(outside), "it works where nothing keeps it from it"
    calls.clear()
    part = f"file://{tmp_path}/report-parts/u/code/result"

    done = run(tmp_path, document(tmp_path, tiny_path, part=part))

    assert done.returncode == 0, done.stderr
    assert ProgressReporter(tmp_path / "progress.json").read().result == PartResult()
    # The attempt that joins the parts runs none of the code.
    (tmp_path / "tasks/own.py").write_text("raise AssertionError('imported')")
    config = EvaluateRun.model_validate_json(json.dumps(document(tmp_path, tiny_path, parts={"code": part})))
    result = evaluate(config, ProgressReporter(tmp_path / "joined.json"))
    assert {each.metric: each.value for each in result.results} == {"code/sums/right": 1, "code/sums/sealed": 1}
    assert calls == []


def test_the_last_words_of_a_sandbox_are_all_that_the_operator_reads(tmp_path: Path, tiny_path: Path) -> None:
    part = f"file://{tmp_path}/report-parts/u/code/result"
    done = run(tmp_path, document(tmp_path, tiny_path, part=part), allowed=False)
    assert done.returncode == 1
    said = ProgressDocument.model_validate_json((tmp_path / "last words").read_text())
    assert said.state == "Failed"
    assert said.failure is not None
    assert not said.failure.retryable
    assert "suite code: harness.runsCode: code is not allowed here" in said.failure.message
