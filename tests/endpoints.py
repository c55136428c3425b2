"""An OpenAI-compatible endpoint on this machine that replies, refuses, breaks and dawdles as a test wants."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Reply = Callable[[str], str]
_CHAT, _RAW = "/v1/chat/completions", "/v1/completions"


@dataclass
class EndpointServer:
    """What was asked, and how it answers: `refusals` are statuses that it gives to the next requests instead.

    `reply` takes the last message or the prompt. Of a stream each word is a chunk, `pause` seconds after the last one.
    """

    reply: Reply = lambda question: "yes"
    refusals: list[int] = field(default_factory=list)
    # Answers so many requests, and refuses all others with status 503.
    budget: int | None = None
    # A body with which it answers in place of its own.
    junk: str | None = None
    pause: float = 0.0
    # Whether a stream ends with the numbers of its tokens; "refused": it will not hear of that.
    usage: bool | str = True
    # After so many chunks a stream breaks off.
    breaks_after: int | None = None
    # How many tokens an answer that is no stream took, by its own account.
    tokens: int | None = None
    questions: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    # How many requests were answered at the same time, at most.
    most: int = 0
    port: int = 0
    _now: int = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, request: dict[str, Any], path: str, key: str | None) -> tuple[int, dict[str, Any]]:
        """Return a status and a body."""
        self.keys.add(key)
        if path not in (_CHAT, _RAW):
            return 404, {"error": {"message": f"there is no {path}"}}
        if self.refusals:
            status = self.refusals.pop(0)
            return status, {"error": {"message": f"no, for the reason {status} and not for {key}"}}
        if self.budget is not None and len(self.questions) >= self.budget:
            return 503, {"error": {"message": "the budget is spent"}}
        if self.usage == "refused" and "stream_options" in request:
            return 400, {"error": {"message": "stream_options is not known here"}}
        question = request["messages"][-1]["content"] if path == _CHAT else request["prompt"]
        self.questions.append(question)
        self.requests.append(request)
        text = self.reply(question)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice |= {"message": {"role": "assistant", "content": text}} if path == _CHAT else {"text": text}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "tiny", "choices": [choice]}
        if self.tokens is not None:
            body["usage"] = {"prompt_tokens": self.tokens - 1, "completion_tokens": 1, "total_tokens": self.tokens}
        return 200, body

    def chunks(self, text: str, request: dict[str, Any]) -> Iterator[str]:
        """Yield the events of a stream."""
        whole = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "tiny"}

        def event(choices: list[dict[str, Any]], **more: Any) -> str:
            return f"data: {json.dumps({**whole, 'choices': choices, **more})}\n\n"

        yield event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
        words = text.split()
        for number, word in enumerate(words):
            if number == self.breaks_after:
                return
            yield event([{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}])
        yield event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if self.usage is True and request.get("stream_options", {}).get("include_usage"):
            # Two tokens to a word, so that it differs from the number of chunks.
            spent = {"prompt_tokens": 7, "completion_tokens": 2 * len(words), "total_tokens": 7 + 2 * len(words)}
            yield event([], usage=spent)
        yield "data: [DONE]\n\n"


ServerT = TypeVar("ServerT", bound=EndpointServer)


@contextmanager
def serving(served: ServerT) -> Iterator[ServerT]:
    """Run an endpoint on a free port of this machine."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                status, answer = served.answer(body, self.path, self.headers["Authorization"])
                served._now += 1
                served.most = max(served.most, served._now)
            try:
                if status == 200 and body.get("stream") and served.junk is None:
                    self._stream(answer["choices"][0]["message"]["content"], body)
                else:
                    self._whole(status, json.dumps(answer))
            except (BrokenPipeError, ConnectionResetError):  # who asked has given up
                pass
            finally:
                with lock:
                    served._now -= 1

        def _whole(self, status: int, text: str) -> None:
            if status == 200:
                time.sleep(served.pause)
                text = text if served.junk is None else served.junk
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            # What the client takes for the pause before it asks again.
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(text.encode())

        def _stream(self, text: str, request: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for chunk in served.chunks(text, request):
                self.wfile.write(chunk.encode())
                self.wfile.flush()
                time.sleep(served.pause)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        # Many clients knock at once.
        request_queue_size = 128
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
