"""A folder in which a person uses the command line, with a runtime that answers in milliseconds."""

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.builders import manifest
from tunesmith_api.judging import API_KEY_VARIABLE

RUNTIME = shlex.join([sys.executable, "-S", str(Path(__file__).with_name("fake_runtime.py"))])
TUNESMITH = [sys.executable, "-c", "from tunesmith_operator.cli import main; main()"]
DEADLINE_SECONDS = 60


@dataclass(frozen=True)
class Home:
    """A folder with manifests, a state directory and running shells."""

    folder: Path
    port: int
    runtime: str = RUNTIME
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def write(self, kind: str, name: str, **spec: Any) -> None:
        """Write a manifest."""
        (self.folder / "manifests").mkdir(exist_ok=True)
        path = self.folder / "manifests" / f"{kind.lower()}-{name}.json"
        path.write_text(json.dumps(manifest(kind, name, spec)))

    def write_thread(self, **training: Any) -> None:
        """Write a job that trains `bot`, an evaluation with a gate on it, and a server behind that gate."""
        self.write_job(**training)
        self.write(
            "EvalJob",
            "bot",
            target={"fineTuneJob": "bot"},
            baseline={"uri": "pvc://models/base"},
            suites=[{"name": "facts", "golden": {"uri": "pvc://data/heldout.jsonl", "metrics": ["f1"]}}],
            gates=[{"metric": "facts/f1", "min": 0.5, "minImprovement": 0.25}],
            report={"uri": "pvc://reports/bot"},
        )
        self.write("ModelServe", "bot", model={"fineTuneJob": "bot"}, requires=[{"evalJob": "bot"}], port=self.port)

    def write_job(self, name: str = "bot", model: str = "pvc://models/base", **training: Any) -> None:
        """Write a FineTuneJob."""
        self.write(
            "FineTuneJob",
            name,
            model={"uri": model},
            data={"train": [{"name": "answers", "uri": "pvc://data/train.jsonl", "format": "messages"}]},
            training=training,
            output={"uri": f"pvc://models/{name}"},
        )

    def control(self, **by_name: dict[str, Any]) -> None:
        """Tell the runtime what the runs of a resource do."""
        folder = self.folder / ".tunesmith" / "volumes" / "control"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "control.json").write_text(json.dumps(by_name))

    def tunesmith(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the command line to its end."""
        return subprocess.run(
            [*TUNESMITH, *arguments],
            cwd=self.folder,
            env=_environment(self.runtime),
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `tunesmith run` on the manifests to its end."""
        return self.tunesmith("run", "-f", "manifests", *arguments)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `tunesmith run` on the manifests, in a process group of its own."""
        shell = subprocess.Popen(
            [*TUNESMITH, "run", "-f", "manifests", *arguments],
            cwd=self.folder,
            env=_environment(self.runtime),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.started.append(shell)
        return shell

    def status(self, what: str) -> dict[str, Any]:
        """Return the status that `tunesmith get -o json` shows."""
        return dict(json.loads(self.tunesmith("get", what, "-o", "json").stdout)["status"])

    def log(self, workload: str) -> str:
        """Return a workload's log; empty before it starts."""
        path = self.folder / ".tunesmith" / "runs" / "default" / workload / "log.txt"
        return path.read_text() if path.exists() else ""

    def pid_of(self, workload: str) -> int:
        """Return the pid of a workload's process."""
        path = self.folder / ".tunesmith" / "runs" / "default" / workload / "process.json"
        return int(json.loads(path.read_text())["pid"])

    def url_is_up(self) -> bool:
        """Return whether the server has said where it answers."""
        path = self.folder / ".tunesmith" / "runs" / "default" / "bot-v1" / "progress.json"
        return path.exists() and "http" in path.read_text()


def until(holds: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    """Return once `holds`; fail after a minute."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited a minute in vain"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Return whether there is no such process, or only what is left of it until its parent looks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(runtime: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TUNESMITH_") or name == API_KEY_VARIABLE
    }
    return {**kept, "TUNESMITH_RUNTIME": runtime}
