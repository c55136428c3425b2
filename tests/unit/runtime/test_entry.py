"""`python -m tunesmith_runtime`: what ends a run before it has begun."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.contract import RunIdentity, ServeRun
from tunesmith_runtime.__main__ import main
from tunesmith_runtime.errors import PortTakenError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.serve.engine.serving import serve


def serving(model: str, port: int) -> ServeRun:
    run = RunIdentity(kind="ModelServe", namespace="default", name="bot", uid="u", attempt=1)
    return ServeRun(run=run, model=model, port=port)


def write(monkeypatch: pytest.MonkeyPatch, folder: Path, config: Any) -> Path:
    (folder / "config.json").write_text(config if isinstance(config, str) else config.model_dump_json(by_alias=True))
    monkeypatch.setenv("TUNESMITH_CONFIG", str(folder / "config.json"))
    monkeypatch.setenv("TUNESMITH_PROGRESS", str(folder / "progress.json"))
    return folder / "progress.json"


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(tmp_path: Path, tiny_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} on 127.0.0.1 is taken by another program; stop it or"):
            serve(serving(f"file://{tiny_path}", port), ProgressReporter(tmp_path / "progress.json"))


def test_a_failure_is_in_the_progress_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = write(monkeypatch, tmp_path, serving(f"file://{tmp_path}/none", 8000))
    assert main() == 1
    document = json.loads(progress.read_text())
    assert document["state"] == "Failed"
    assert document["failure"]["reason"] == "ModelInvalid"
    assert document["failure"]["retryable"] is False
    assert "no such folder" in capsys.readouterr().err


def test_a_run_without_a_config_is_a_wrong_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TUNESMITH_CONFIG", raising=False)
    assert main() == 2
    assert "$TUNESMITH_CONFIG is not set" in capsys.readouterr().err


def test_a_config_that_cannot_be_read_is_a_wrong_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(monkeypatch, tmp_path, '{"type": "dance"}')
    assert main() == 2
    assert "the run config cannot be used" in capsys.readouterr().err
