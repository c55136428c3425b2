"""The pod of a ModelServe that vLLM serves: its containers as processes of this machine, each as it is rendered."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from tests.builders import model_serve
from tests.local.home import free_port
from tunesmith_api.contract import PROGRESS_CONFIG_MAP_VARIABLE
from tunesmith_operator.backends.native import Settings, render
from tunesmith_operator.planner import Observed, plan

NAME = "bot"
ENVIRONMENT = Path(os.environ.get("VLLM_ENVIRONMENT", ".cache/vllm")).absolute()
START_SECONDS = 600
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
# Folders that a pod has of its own.
_FOLDERS = re.compile(r"(?<![\w./-])/(tmp|volumes|etc/tunesmith|dev/termination-log)(?![\w.-])")


@dataclass(frozen=True)
class Pod:
    """The pod that the operator makes for a ModelServe. Its folders are below one of this machine."""

    folder: Path
    spec: dict[str, Any]

    @property
    def grace_seconds(self) -> int:
        """How long it may take to end."""
        return int(self.spec["terminationGracePeriodSeconds"])

    def fetch(self) -> None:
        """Run the init container, by this project's runtime."""
        (container,) = self.spec["initContainers"]
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TUNESMITH_")}
        environment = ours | self._variables(container) | {"PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
        subprocess.run(self._command(container), env=environment, check=True, timeout=120)

    @contextmanager
    def serve(self) -> Iterator["Server"]:
        """Run the server's container, by vLLM, with nothing but its own environment; give it once it is ready."""
        (container,) = self.spec["containers"]
        (rendered,) = (each["containerPort"] for each in container["ports"] if each["name"] == "http")
        port = free_port()
        paths = {"PATH": f"{ENVIRONMENT / 'bin'}:{os.defpath}", "TMPDIR": self._here("/tmp")}
        environment = self._variables(container) | paths
        log = self.folder / "server.log"
        words = self._command(container)
        command = [f"--port={port}" if word == f"--port={rendered}" else word for word in words]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, process_group=0
            )
        server = Server(f"http://127.0.0.1:{port}", process, log)
        try:
            server.wait_for(container["readinessProbe"]["httpGet"]["path"])
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(self.grace_seconds)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _command(self, container: dict[str, Any]) -> list[str]:
        return [self._here(word) for word in container["command"]]

    def _variables(self, container: dict[str, Any]) -> dict[str, str]:
        # What comes from the pod itself only says where to report.
        given = (each for each in container["env"] if "value" in each)
        found = {each["name"]: self._here(each["value"]) for each in given}
        found.pop(PROGRESS_CONFIG_MAP_VARIABLE)  # there is no cluster that would keep it
        return found

    def _here(self, text: str) -> str:
        return _FOLDERS.sub(lambda found: f"{self.folder}/{found[1]}", text)


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def wait_for(self, path: str) -> None:
        """Wait until a path answers 200, as the kubelet does."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers(path):
            assert self.process.poll() is None, f"vLLM has ended:\n{self.log.read_text()[-8000:]}"
            assert time.monotonic() < deadline, f"vLLM is not ready:\n{self.log.read_text()[-8000:]}"
            time.sleep(0.2)

    def _answers(self, path: str) -> bool:
        try:
            return requests.get(self.url + path, timeout=5).status_code == 200
        except requests.RequestException:
            return False


def pod(folder: Path, **spec: Any) -> Pod:
    """Return the pod of a ModelServe's first revision, with its config and its folders in place."""
    serve = model_serve(NAME, **spec)
    (workload,) = plan(serve, Observed(address=f"http://{NAME}.default.svc:8000"), NOW).ensure
    *parts, deployment = render(workload, Settings(image="registry.example/runtime:1"))
    (config,) = (each["data"]["config.json"] for each in parts if "config.json" in each.get("data", {}))
    for name in ("tmp", "volumes", "etc/tunesmith", "dev"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "etc" / "tunesmith" / "config.json").write_text(config)
    return Pod(folder, deployment["spec"]["template"]["spec"])
