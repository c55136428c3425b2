"""What the operator lacks is said, waited for, and found again: its kinds, its rights, its API server."""

import base64
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml
from tools.programs import FOLDER

from tests.cluster.cluster import Cluster, Namespace, eventually
from tests.cluster.work import job


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Operator:
    """An operator on this machine that reaches the cluster through `kubectl proxy`, in one namespace."""

    port: int
    log: Path

    def says(self, path: str) -> tuple[int, str]:
        answer = requests.get(f"http://127.0.0.1:{self.port}/{path}", timeout=10)
        return answer.status_code, answer.text

    def is_ready(self) -> bool:
        return self.says("readyz")[0] == 200


@contextmanager
def proxied(cluster: Cluster, port: int, *arguments: str) -> Iterator[None]:
    command = [str(FOLDER / "kubectl"), "--kubeconfig", cluster.kubeconfig, "proxy", f"--port={port}", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def running(folder: Path, namespace: str, server: str, token: str | None = None) -> Iterator[Operator]:
    port = free_port()
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"token": token} if token else {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    log = folder / "operator.log"
    command = [
        sys.executable, "-m", "tunesmith_operator", "--namespace", namespace, "--port", str(port),
        "--no-leader-election", "--log-format", "text",
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env=environment | {"KUBECONFIG": str(path)})
    try:
        yield Operator(port, log)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()


@pytest.fixture
def quiet(cluster: Cluster) -> Iterator[None]:
    """Only the operator under test looks after resources."""
    scale = ["-n", "tunesmith-system", "scale", "deployment/tunesmith-operator"]
    cluster.kubectl(*scale, "--replicas=0", check=False)
    yield
    cluster.kubectl(*scale, "--replicas=1", check=False)


def test_an_api_server_that_goes_away_and_comes_back(
    operator: Cluster, namespace: Namespace, quiet: None, tmp_path: Path
) -> None:
    port = free_port()
    with running(tmp_path, namespace.name, f"http://127.0.0.1:{port}") as ours:
        eventually(lambda: "does not answer" in ours.says("readyz")[1], "complaint about the API server")
        with proxied(operator, port):
            eventually(ours.is_ready, "ready operator")
            namespace.apply(job())
            namespace.await_condition("FineTuneJob", "bot", "Succeeded")
        eventually(lambda: "does not answer" in ours.log.read_text().split("at work")[1], "complaint in the log")
        with proxied(operator, port):
            namespace.apply(job("next"))
            namespace.await_condition("FineTuneJob", "next", "Succeeded", seconds=90)
    told = [line for line in ours.log.read_text().splitlines() if "does not answer" in line]
    assert len(told) <= 4, "\n".join(told)


def test_rights_that_are_missing(operator: Cluster, namespace: Namespace, quiet: None, tmp_path: Path) -> None:
    namespace.kubectl("create", "serviceaccount", "poor")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "poor-token", "annotations": {"kubernetes.io/service-account.name": "poor"}},
        "type": "kubernetes.io/service-account-token",
    }
    namespace.apply(secret)
    encoded = eventually(lambda: (namespace.get("Secret", "poor-token") or {}).get("data", {}).get("token"), "token")
    token = base64.b64decode(encoded).decode()
    server = operator.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    with running(tmp_path, namespace.name, server, token) as ours:

        def complains() -> str | None:
            code, said = ours.says("readyz")
            return said if code == 503 and "may not" in said else None

        said = eventually(complains, "complaint about rights")
        assert f"may not get, list, watch finetunejobs.tunesmith.dev in namespace {namespace.name}" in said
        assert "apply the roles of this version" in said

        account = f"--serviceaccount={namespace.name}:poor"
        namespace.kubectl("create", "rolebinding", "rich", "--clusterrole=cluster-admin", account)
        eventually(ours.is_ready, "ready operator")
