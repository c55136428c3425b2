"""A head and its workers as processes of this machine: what a cluster would start in pods of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.local.home import free_port
from tunesmith_api.contract import ProgressDocument

STOP_SECONDS = 20
RUNTIME = [sys.executable, "-m", "tunesmith_runtime"]


@dataclass(frozen=True)
class Pods:
    """The pods of one run below a folder that all of them see."""

    folder: Path
    config: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    # Whether the run is spread over pods; otherwise all of its workers are started by the head, on one machine.
    apart: bool = True

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.config["run"]["name"])

    def start(self, pod: str, address: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a pod's process: one with the name and the address of its own."""
        config, log = self.folder / f"{self.name}.json", self.log_file(pod)
        config.write_text(json.dumps(self.config))
        own = {
            "TUNESMITH_CONFIG": str(config),
            "TUNESMITH_PROGRESS": str(self.folder / f"{self.name}-progress.json"),
            "TUNESMITH_VOLUMES": str(self.folder),
            "TUNESMITH_TERMINATION_LOG": str(self.folder / f"{pod}-last-words.txt"),
            "HOSTNAME": pod,
            "HOME": str(self.folder),
            **self.environment,
        }
        if self.apart and self.config.get("workers", 1) > 1:
            own |= {
                "TUNESMITH_RAY_ADDRESS": f"127.0.0.2:{self.port}",
                "TUNESMITH_WORKERS_PREFIX": f"{self.name}-a1-workers-",
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": "0123456789abcdef" * 2,
                "POD_IP": address,
            }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNESMITH_")} | own
        with log.open("ab") as output:
            return subprocess.Popen([*RUNTIME, *arguments], env=environment, stdout=output, stderr=subprocess.STDOUT)

    def log_file(self, pod: str) -> Path:
        """Return the file of a pod's log."""
        return self.folder / f"{pod}.log"

    @contextmanager
    def head(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Start the head; end it when it is left."""
        with ended(self.start(f"{self.name}-a1", "127.0.0.2")) as head:
            yield head

    @contextmanager
    def worker(self, number: int = 0) -> Iterator["subprocess.Popen[bytes]"]:
        """Start a worker; end it when it is left."""
        with ended(self.start(f"{self.name}-a1-workers-{number}", f"127.0.0.{number + 3}", "worker")) as worker:
            yield worker

    def progress(self) -> ProgressDocument:
        """Return what the run reports."""
        try:
            return ProgressDocument.model_validate_json((self.folder / f"{self.name}-progress.json").read_bytes())
        except FileNotFoundError:
            return ProgressDocument()

    def last_words(self) -> str:
        """Return the termination message of the head."""
        return (self.folder / f"{self.name}-a1-last-words.txt").read_text()

    def processes(self) -> list[psutil.Process]:
        """Return the processes of the run that are there, Ray's among them."""
        return [each for each in psutil.process_iter() if self._is_ours(each)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("TUNESMITH_CONFIG") == str(self.folder / f"{self.name}.json")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def kill_all_of(self, pod: "subprocess.Popen[bytes]") -> None:
        """Kill a pod's processes all at once, as a machine does that loses its power."""
        name = psutil.Process(pod.pid).environ()["HOSTNAME"]
        for process in self.processes():
            try:
                if process.environ().get("HOSTNAME") == name:
                    process.kill()
            except psutil.NoSuchProcess:
                pass
        pod.wait()

    def logs(self) -> str:
        """Return the logs of all pods of the run."""
        return "\n".join(
            f"== {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob(f"{self.name}-a1*.log"))
        )


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """Yield a process and end it if it is still there: it takes its own processes with it."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(STOP_SECONDS)
