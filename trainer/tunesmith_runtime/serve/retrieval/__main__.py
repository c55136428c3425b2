"""The process: `python -m tunesmith_runtime.serve.retrieval`, started by the gateway. It ends with it."""

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import IO, Any

from tunesmith_runtime.serve.retrieval.service import Orders, Service, open_session

# Of a message: orders, or a question.
LONGEST_LINE = 4 * 2**20


def main() -> None:
    """Serve the gateway that has started this process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the gateway ends it
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no answer
    asyncio.run(_serve(answers))
    os._exit(0)  # whatever still runs in threads


async def _serve(answers: IO[bytes]) -> None:
    def send(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message).encode() + b"\n")

    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with open_session() as session:
        service = Service(session, send)
        following = asyncio.create_task(service.follow())
        following.add_done_callback(_end_if_failed)
        asking: set[asyncio.Task[None]] = set()
        while line := await reader.readline():
            message = json.loads(line)
            if "go_by" in message:
                service.go_by(Orders.of(message["go_by"]))
                continue
            task = asyncio.create_task(service.answer(message["ask"], message["question"], message.get("prefer")))
            asking.add(task)
            task.add_done_callback(asking.discard)
        following.cancel()


def _end_if_failed(following: asyncio.Task[None]) -> None:
    if not following.cancelled() and (error := following.exception()) is not None:
        traceback.print_exception(error)
        os._exit(1)  # the gateway starts another


if __name__ == "__main__":
    main()
