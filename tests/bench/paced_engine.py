"""An engine that streams words at a fixed pace and costs next to nothing: `python -m tests.bench.paced_engine PORT`."""

import asyncio
import json
import sys

PACE_SECONDS = 0.02


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


_EVENT = _chunk(
    b"data: "
    + json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "bot",
            "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}],
        }
    ).encode()
    + b"\n\n"
)
_END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WHOLE = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
    }
).encode()
_AT_ONCE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_WHOLE), _WHOLE)


class Engine(asyncio.Protocol):
    """One connection: requests one after another, each with a body of a known length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._read = b""
        self._left = 0
        self._next: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, separator, rest = self._read.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(rest) < length:
            return
        self._read = rest[length:]
        body = json.loads(rest[:length])
        if not body.get("stream"):
            self._transport.write(_AT_ONCE)
            return
        self._left = body["max_tokens"]
        self._transport.write(_STREAM)
        self._tick(asyncio.get_running_loop().time())

    def _tick(self, due: float) -> None:
        self._left -= 1
        self._transport.write(_EVENT if self._left else _EVENT + _END)
        if self._left:
            due += PACE_SECONDS
            self._next = asyncio.get_running_loop().call_at(due, self._tick, due)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port, backlog=2048)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
