"""Adapters that come and go while the engine answers, by a file that says which ones there should be."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from tests.engines import run_of, served_over_http
from tests.unit.runtime.test_engine_adapters import lora, save
from tunesmith_api.contract import AdapterReport
from tunesmith_runtime.errors import ConfigError, RunError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.serve.engine import adapting
from tunesmith_runtime.serve.engine.adapting import Adapting, without_those_gone
from tunesmith_runtime.serve.engine.engine import Engine

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
TEXT: dict[str, Any] = {"prompt": "the sky is", "max_tokens": 8, "temperature": 0}


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_adapters_come_and_go_while_it_answers(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(adapting, "POLL_SECONDS", 0.02)
    adapter = save(tiny_path, tmp_path / "formal", lora(1), 1)
    file, progress = tmp_path / "adapters.json", ProgressReporter(tmp_path / "progress.json")
    formal, missing = f"file://{adapter}", f"file://{tmp_path}/missing"

    def write(generation: int, **adapters: str) -> None:
        named = [{"name": name, "uri": uri} for name, uri in adapters.items()]
        file.write_text(json.dumps({"generation": generation, "adapters": named}))

    def report() -> AdapterReport | None:
        return progress.read().adapters

    def said(url: str, model: str) -> str:
        answer = requests.post(f"{url}/v1/completions", json=TEXT | {"model": model}, timeout=60).json()
        return str(answer["choices"][0]["text"])

    announced = threading.Event()
    write(1, formal=formal, gone=missing)
    with served_over_http(run_of(tiny_path)) as (url, engine):
        Adapting(engine, file, progress).start(announced.set)
        assert announced.wait(60)
        told = report()
        assert told is not None
        assert (told.generation, told.loaded) == (1, ("formal",))
        assert [each.name for each in told.refused] == ["gone"], "it hinders no other, and it is said"
        assert "is no adapter" in told.refused[0].message

        write(2, formal=formal, b=formal)
        until(lambda: report() == AdapterReport(generation=2, loaded=("formal", "b")))
        assert said(url, "b") == said(url, "formal")
        busy = TEXT | {"model": "b", "stream": True, "max_tokens": 100, "ignore_eos": True}
        with requests.post(f"{url}/v1/completions", json=busy, stream=True, timeout=60) as stream:
            write(3, formal=formal)
            until(lambda: report() == AdapterReport(generation=3, loaded=("formal",)))
            events = [line for line in stream.iter_lines() if line]
        assert events[-1] == b"data: [DONE]", "what was under way was finished"
        assert requests.post(f"{url}/v1/completions", json=TEXT | {"model": "b"}, timeout=60).status_code == 404

        file.write_text("{")
        until(lambda: "going on with the adapters that are there" in capsys.readouterr().out)
        assert said(url, "formal")


class Away:
    """An engine whose storage does not answer the first time."""

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        self.tries = 0

    def load_adapter(self, name: str, uri: str) -> None:
        self.tries += 1
        if self.tries == 1:
            raise RunError(f"{uri}: the storage does not answer")
        self.adapters = {name: uri}


def test_an_adapter_whose_storage_was_away_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapting, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(adapting, "RETRY_SECONDS", 0.1)
    file, progress = tmp_path / "adapters.json", ProgressReporter(tmp_path / "progress.json")
    file.write_text('{"generation": 7, "adapters": [{"name": "formal", "uri": "s3://models/formal"}]}')
    seen: list[AdapterReport | None] = []
    Adapting(cast("Engine", Away()), file, progress).start(lambda: seen.append(progress.read().adapters))
    until(lambda: progress.read().adapters == AdapterReport(generation=7, loaded=("formal",)))
    (first,) = seen
    assert first is not None
    assert [each.message for each in first.refused] == ["s3://models/formal: the storage does not answer"]


def test_of_its_own_adapters_a_run_needs_those_that_are_still_asked_for(tmp_path: Path) -> None:
    file, config = tmp_path / "adapters.json", run_of(tmp_path, formal=tmp_path / "formal", gone=tmp_path / "gone")
    kept = {"name": "formal", "uri": f"file://{tmp_path}/formal"}
    file.write_text(json.dumps({"generation": 1, "adapters": [kept, {"name": "new", "uri": "s3://models/new"}]}))
    assert [each.name for each in without_those_gone(config, file).adapters] == ["formal"]
    file.write_text('{"generation": 1, "adapters": [{"name": "formal"}]}')
    with pytest.raises(ConfigError, match="is no list of adapters: Field required"):
        without_those_gone(config, file)
    with pytest.raises(ConfigError, match="cannot be read from"):
        without_those_gone(config, tmp_path / "none.json")
