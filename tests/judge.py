"""A judge behind a real HTTP endpoint, which says which of two answers is better."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Takes the first and the second answer that it is shown; returns what it replies.
Rule = Callable[[str, str], str]
_ANSWERS = re.compile(r"<answer_a>\n(.*)\n</answer_a>\n\n<answer_b>\n(.*)\n</answer_b>", re.DOTALL)


def longer(first: str, second: str) -> str:
    """Prefer the longer answer."""
    return "TIE" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


@dataclass
class JudgeServer:
    """What was asked, and how it answers: `refusals` are statuses that it gives to the next requests instead."""

    rule: Rule = longer
    refusals: list[int] = field(default_factory=list)
    # Answers so many requests, and refuses all others with status 503.
    budget: int | None = None
    questions: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    port: int = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, request: dict[str, Any], path: str, key: str | None) -> tuple[int, dict[str, Any]]:
        """Return a status and a body."""
        self.keys.add(key)
        if path != "/v1/chat/completions":
            return 404, {"error": {"message": f"there is no {path}"}}
        if self.refusals:
            status = self.refusals.pop(0)
            return status, {"error": {"message": f"no, for the reason {status} and not for {key}"}}
        if self.budget is not None and len(self.questions) >= self.budget:
            return 503, {"error": {"message": "the budget is spent"}}
        question = request["messages"][0]["content"]
        self.questions.append(question)
        self.requests.append(request)
        found = _ANSWERS.search(question)
        assert found is not None
        message = {"role": "assistant", "content": self.rule(found[1], found[2])}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return 200, {"id": "1", "object": "chat.completion", "created": 0, "model": "judge", "choices": [choice]}


@contextmanager
def judge_server(**settings: Any) -> Iterator[JudgeServer]:
    """Run a judge on a free port of this machine."""
    judge, lock = JudgeServer(**settings), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                status, answer = judge.answer(body, self.path, self.headers["Authorization"])
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            # What the client takes for the pause before it asks again.
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    judge.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
