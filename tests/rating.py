"""People who vote on a page, in a test: over HTTP, as the page itself does, and evaluations that wait for them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from tests.endpoints import EndpointServer, serving
from tunesmith_api.contract import CONFIG_VARIABLE, PROGRESS_VARIABLE, EvaluateRun, ProgressDocument
from tunesmith_runtime.progress import ProgressReporter

# Marks the target's answers, so that a test's people know whose they see.
OURS, THEIRS = "Our answer", "Their answer"
# What somebody says who sees these two answers: first, second or tie.
Opinion = Callable[[str, str], str]


def for_target(first: str, second: str) -> str:
    return "first" if first.startswith(OURS) else "second"


def for_baseline(first: str, second: str) -> str:
    return "second" if first.startswith(OURS) else "first"


@contextmanager
def two_models() -> Iterator[tuple[EndpointServer, EndpointServer]]:
    """Serve a target and a baseline that answer each question in their own words, those with "same" alike."""

    def answering(whose: str) -> Callable[[str], str]:
        return lambda question: "Alike." if "same" in question else f"{whose} to {question}"

    with (
        serving(EndpointServer(reply=answering(OURS))) as ours,
        serving(EndpointServer(reply=answering(THEIRS))) as other,
    ):
        yield ours, other


def config(
    folder: Path, target: EndpointServer, baseline: EndpointServer, questions: list[str], **human: Any
) -> EvaluateRun:
    """Return the run of an evaluation with a suite `people`."""
    (folder / "questions.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in questions))
    document = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "bot-eval", "uid": "u", "attempt": 1},
        "target": _asked(target),
        "baseline": _asked(baseline),
        "suites": [{"name": "people", "human": {"uri": f"file://{folder}/questions.jsonl", "format": "text", **human}}],
        "report": {"uri": f"file://{folder}/out/report"},
    }
    return EvaluateRun.model_validate_json(json.dumps(document))


def _asked(server: EndpointServer) -> dict[str, Any]:
    return {"uri": server.url, "endpoint": {"url": server.url, "model": "bot", "maxRetries": 1}}


@dataclass
class Evaluating:
    """An evaluation in a process of its own."""

    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def progress(self) -> ProgressDocument:
        return ProgressReporter(self.folder / "progress.json").read()

    def page(self) -> str:
        """Return the URL of the page, once it is there."""
        deadline = time.monotonic() + 120
        while not (rating := self.progress.rating):
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return rating.url

    def ended(self) -> ProgressDocument:
        """Return the last words of the evaluation, once it has ended well."""
        assert self.process.wait(120) == 0, self.log()
        return self.progress

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text()[-3000:]


@contextmanager
def evaluating(folder: Path, run: EvaluateRun) -> Iterator[Evaluating]:
    """Evaluate in a process of its own."""
    (folder / "config.json").write_text(json.dumps(run.to_json()))
    (folder / "progress.json").unlink(missing_ok=True)
    files = {CONFIG_VARIABLE: str(folder / "config.json"), PROGRESS_VARIABLE: str(folder / "progress.json")}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunesmith_runtime"],
            env={**os.environ, **files, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )
    try:
        yield Evaluating(folder, process)
    finally:
        process.kill()
        process.wait()


@dataclass
class Person:
    """Somebody with the page open, and what they have seen: the ids of pairs, in order."""

    url: str
    name: str = ""
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        if self.name:
            self.state = self.post("name", {"name": self.name}).json()

    @property
    def key(self) -> str:
        return parse_qs(urlsplit(self.url).query)["key"][0]

    def at(self, path: str) -> str:
        return self.url.partition("/?")[0] + path

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.session.get(self.at(path), headers={"X-Rating-Key": self.key, **headers}, timeout=30)

    def post(self, what: str, body: Any, **headers: str) -> requests.Response:
        return self.session.post(
            self.at(f"/api/{what}"), json=body, headers={"X-Rating-Key": self.key, **headers}, timeout=30
        )

    def vote(self, opinion: Opinion) -> dict[str, Any]:
        """Vote on the pair that is shown; return what is shown then."""
        pair = self.state["pair"]
        self.seen.append(pair["id"])
        answer = self.post("votes", {"pair": pair["id"], "choice": opinion(*pair["answers"])})
        assert answer.status_code == 200, answer.text
        self.state = answer.json()
        return self.state
