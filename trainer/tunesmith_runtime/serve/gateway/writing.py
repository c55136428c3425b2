"""Records are finished and written by a process beside the gateway, which they would slow down.

`python -m tunesmith_runtime.serve.gateway.writing` is that process. It takes parts on its standard input, each a line
that says what it is and a line for each record, and answers a line for each part. It ends with the gateway.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import IO, Any

from tunesmith_api.serving.capture import Capture
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.serve.gateway import captured
from tunesmith_runtime.serve.gateway.beside import ended
from tunesmith_runtime.serve.gateway.captured import Captured, RecordKind

# The process gives way to the gateway.
_NICE = 5


class NotWrittenError(Exception):
    """A part could not be written; `again` says whether trying again can help."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


class Writer:
    """The process, started for the first part and again for the next one when it has ended."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def write(self, records: Sequence[Captured], kind: RecordKind, capture: Capture, file: str) -> None:
        """Return once the records are written. Raises NotWrittenError."""
        async with self._turn:
            process = self._process = await self._started()
            assert process.stdin is not None  # noqa: S101 - both are pipes
            assert process.stdout is not None  # noqa: S101
            part = {"kind": kind, "capture": capture.to_json(), "file": file, "records": len(records)}
            try:
                process.stdin.write(_line(part))
                for each in records:
                    process.stdin.write(_line(each.to_json()))
                    await process.stdin.drain()
                answer = await process.stdout.readline()
            except (ConnectionError, asyncio.CancelledError):
                process.kill()  # nobody knows what it has read
                raise NotWrittenError("the process that writes has ended") from None
            if not answer:
                raise NotWrittenError("the process that writes has ended")
            told = json.loads(answer)
            if told["error"]:
                raise NotWrittenError(told["error"], again=told["again"])

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        if self._process is not None:
            await ended(self._process)
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )

    async def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None  # noqa: S101
            self._process.stdin.close()
            await ended(self._process)


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def carry_out(parts: IO[bytes], answers: IO[bytes]) -> None:
    """Write part after part, until there are no more."""
    while line := parts.readline():
        part = json.loads(line)
        records = [captured.from_json(json.loads(parts.readline())) for _ in range(part["records"])]
        capture = Capture.model_validate_json(json.dumps(part["capture"]))
        problem, again = None, True
        try:
            finished = [captured.finished(each, redact=capture.redact_pii) for each in records]
            captured.write(finished, part["kind"], capture.uri, part["file"], capture.format)
        except (OSError, RunError) as error:
            problem = str(error)
        except Exception as error:  # of these records: the next ones may well be written
            problem, again = f"{type(error).__name__}: {error}", False
        answers.write(_line({"error": problem, "again": again}))
        answers.flush()


def main() -> None:
    """Serve the gateway that has started this process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the gateway ends it, when it has written all
    os.nice(_NICE)
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        carry_out(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
