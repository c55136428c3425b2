"""The progress document in a ConfigMap, as an API server gets it: over HTTPS, with the pod's credentials."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from tests.local.home import until
from tunesmith_runtime.kubernetes_progress import ConfigMapMirror
from tunesmith_runtime.progress import ProgressReporter

PATH = "/api/v1/namespaces/team-a/configmaps/bot-a1-progress"


@dataclass
class ApiServer:
    """Answers PATCH with the status codes that it is given, then with 200."""

    refusals: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Take a request; return the status code of its answer."""
        self.tokens.append(headers["Authorization"])
        if self.refusals:
            return self.refusals.pop(0)
        assert path == PATH
        assert headers["Content-Type"] == "application/merge-patch+json"
        ((key, document),) = json.loads(body)["data"].items()
        self.keys.append(key)
        self.stages.append(json.loads(document)["stage"])
        return 200


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """Return the folder of a pod's credentials."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("first")
    (folder / "namespace").write_text("team-a")
    return folder


@pytest.fixture
def server(account: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """Run an API server with a certificate that the pod can verify."""
    api = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(api.answer(self.path, dict(self.headers), body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(account / "ca.crt"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(http.server_port))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # is not asked
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield api
    http.shutdown()
    thread.join()
    http.server_close()


Make = Callable[..., ConfigMapMirror]


@pytest.fixture
def mirror(tmp_path: Path, account: Path) -> Make:
    """Return a builder of mirrors of the test's progress."""

    def make(interval: float = 0.01, flush: float = 5.0) -> ConfigMapMirror:
        return ConfigMapMirror(
            tmp_path / "progress.json", "bot-a1-progress", account=account, interval=interval, flush=flush
        )

    return make


@pytest.fixture
def reporter(tmp_path: Path) -> ProgressReporter:
    return ProgressReporter(tmp_path / "progress.json")


def test_the_config_map_follows_the_progress(server: ApiServer, mirror: Make, reporter: ProgressReporter) -> None:
    with mirror():
        reporter.update(stage="reading the data")
        until(lambda: server.stages == ["reading the data"])
        reporter.update(stage="training")
        until(lambda: server.stages == ["reading the data", "training"])
    assert len(server.stages) == 2


def test_what_comes_last_is_there_in_the_end_and_what_came_between_need_not_be(
    server: ApiServer, mirror: Make, reporter: ProgressReporter
) -> None:
    with mirror(interval=60):
        for stage in ("reading the data", "training", "done"):
            reporter.update(stage=stage)
    assert server.stages == ["done"]


def test_the_end_of_a_run_outlives_an_api_server_that_is_away(
    server: ApiServer, mirror: Make, reporter: ProgressReporter
) -> None:
    server.refusals = [500, 503, 429]
    with mirror(interval=0.05):
        reporter.update(stage="done")
    assert server.stages == ["done"]


def test_credentials_that_were_renewed_are_used(
    server: ApiServer, mirror: Make, reporter: ProgressReporter, account: Path
) -> None:
    with mirror():
        reporter.update(stage="training")
        until(lambda: server.tokens == ["Bearer first"])
        (account / "token").write_text("second\n")
        reporter.update(stage="done")
    assert server.tokens[-1] == "Bearer second"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (403, "the pod's ServiceAccount may not patch the ConfigMap bot-a1-progress (403 Forbidden); its Role must"),
        (404, "there is no ConfigMap bot-a1-progress; the resource may have been deleted"),
    ],
)
def test_a_refusal_is_said_once_and_fails_nothing(
    server: ApiServer,
    mirror: Make,
    reporter: ProgressReporter,
    capsys: pytest.CaptureFixture[str],
    code: int,
    sentence: str,
) -> None:
    server.refusals = [code] * 1000
    reporter.update(stage="training")
    with mirror(flush=0.1):
        until(lambda: len(server.tokens) > 2)
    said = capsys.readouterr().err
    assert said.count(sentence) == 1
    assert said.endswith("the end of this run could not be reported\n")


def test_an_api_server_that_nobody_can_reach_fails_nothing(
    mirror: Make, reporter: ProgressReporter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with mirror(flush=0.1):
        reporter.update(stage="done")
    assert "trying again: $KUBERNETES_SERVICE_HOST is not set" in capsys.readouterr().err


def test_a_run_that_is_being_stopped_does_not_wait_for_the_api_server(
    mirror: Make, reporter: ProgressReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter.update(stage="training")
    with pytest.raises(SystemExit), mirror(interval=60, flush=60):
        raise SystemExit(143)


def test_outside_of_a_cluster_there_is_no_config_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESMITH_PROGRESS_CONFIG_MAP", raising=False)
    with ConfigMapMirror.from_environment() as nothing:
        assert nothing is None


def test_processes_that_share_a_config_map_write_keys_of_their_own(
    server: ApiServer, account: Path, reporter: ProgressReporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("TUNESMITH_PROGRESS_CONFIG_MAP", "bot-a1-progress")
    monkeypatch.setenv("TUNESMITH_PROGRESS_KEY", "bot-gateway-7f.json")
    with ConfigMapMirror.from_environment(account=account, interval=60) as mirror:
        assert mirror is not None
        reporter.update(stage="serving")
        mirror.hurry()  # rather than in a minute
        until(lambda: server.stages == ["serving"])
    assert server.keys == ["bot-gateway-7f.json"]
