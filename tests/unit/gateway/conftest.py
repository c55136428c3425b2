"""A folder with the files that a gateway follows."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_ROUTES", str(tmp_path / "routes.json"))
    monkeypatch.setenv("TUNESMITH_API_KEYS", str(tmp_path))
    monkeypatch.delenv("TUNESMITH_ROUTES_CONFIG_MAP", raising=False)
    monkeypatch.delenv("TUNESMITH_READY", raising=False)
    monkeypatch.setattr("tunesmith_runtime.serve.gateway.reporting.INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("tunesmith_runtime.serve.following.POLL_SECONDS", 0.02)
    return tmp_path
