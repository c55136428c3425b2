"""The process beside the gateway: requests and answers come on its standard input, reports go to its standard output.

`python -m tunesmith_runtime.serve.watching` takes a line with what is to be watched, then a line for each exchange, and
answers a line with a report when there is something new to say. It ends with the gateway.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import IO, Any

from tunesmith_api.serving.capture import Capture
from tunesmith_api.serving.watch import WatchPolicy, WatchReport
from tunesmith_runtime.serve.gateway.captured import CapturedExchange
from tunesmith_runtime.serve.watching.reference import asked_in

# The process gives way to the gateway and the engine.
_NICE = 10
# What waits for a part that is slow; what comes when it is full is passed over.
_MOST_WAITING = 256
_SHOWN = 500

Exchange = dict[str, Any]
Work = Callable[[Exchange], Any]


class Reports:
    """What is said, by whichever thread has something to say."""

    def __init__(self, answers: IO[bytes]) -> None:
        self._answers = answers
        self._lock = threading.Lock()
        self._report = WatchReport()

    def tell(self, **changes: Any) -> None:
        """Say what has changed, if it has."""
        with self._lock:
            report = self._report.model_copy(update=changes)
            if report != self._report:
                self._report = report
                self._answers.write(report.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n")
                self._answers.flush()


class Desk:
    """A thread that does one kind of work, and what waits for it."""

    def __init__(self, name: str, work: Work, reports: Reports) -> None:
        self._name = name
        self._work = work
        self._reports = reports
        self._waiting: queue.Queue[Exchange] = queue.Queue(_MOST_WAITING)
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def give(self, exchange: Exchange) -> None:
        """Take an exchange, unless too many wait."""
        try:
            self._waiting.put_nowait(exchange)
        except queue.Full:
            return

    def _run(self) -> None:
        while True:
            exchange = self._waiting.get()
            try:
                found = self._work(exchange)
            except Exception as error:  # of this exchange: the next one may well go
                self._reports.tell(problem=f"{self._name}: {' '.join(str(error).split())}"[:_SHOWN])
                continue
            if found is not None:
                self._reports.tell(**{self._name: found, "problem": None})


def desks(setting: Any, reports: Reports) -> dict[str, Desk]:
    """Return who does what is asked for."""
    watch = WatchPolicy.model_validate_json(json.dumps(setting["watch"]))
    capture = Capture.model_validate_json(json.dumps(setting["capture"])) if setting["capture"] else None
    made: dict[str, Desk] = {}
    if watch.drift is not None:
        from tunesmith_runtime.serve.watching.drift import DriftWatch

        drift = DriftWatch(watch.drift, capture, setting["model"])
        made["drift"] = Desk("drift", lambda each: drift.add(each["prompt"], each["engine"], each["revision"]), reports)
    if watch.watcher is not None:
        from tunesmith_runtime.serve.watching.grading import Grader

        grader = Grader(watch.watcher)
        made["quality"] = Desk(
            "quality", lambda each: grader.grade(each["prompt"], each["answer"], each["revision"]), reports
        )
    return made


def exchange_of(value: Any) -> Exchange:
    """Return the prompt and the answer of what the gateway has passed on."""
    record = CapturedExchange({}, value["body"].encode(), (value["answer"] or "").encode()).record()
    if "messages" in record:
        messages = record["messages"]
        asked = json.loads(value["body"])["messages"]
        answer = messages[-1].get("content") if len(messages) > len(asked) else None
        prompt = asked_in(asked)
    else:
        prompt = record["prompt"] if isinstance(record["prompt"], str) else ""
        answer = record["completion"]
    text = answer if isinstance(answer, str) else ""
    return {"prompt": prompt, "answer": text, "engine": value["engine"], "revision": value["revision"]}


def carry_out(lines: IO[bytes], answers: IO[bytes]) -> None:
    """Watch until there are no more exchanges."""
    reports = Reports(answers)
    at = desks(json.loads(lines.readline()), reports)
    for line in lines:
        value = json.loads(line)
        exchange = exchange_of(value)
        if "drift" in at and exchange["prompt"]:
            at["drift"].give(exchange)
        if "quality" in at and value["graded"] and exchange["answer"]:
            at["quality"].give(exchange)


def main() -> None:
    """Serve the gateway that has started this process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the gateway ends it
    os.nice(_NICE)
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        carry_out(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
