"""The local shell with an evaluation that waits for people: it says where they vote, and for how long it waits."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.endpoints import EndpointServer
from tests.local.home import Home, free_port, until
from tests.rating import Person, for_target, two_models

RUNTIME = shlex.join([sys.executable, "-m", "tunesmith_runtime"])
PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[EndpointServer, EndpointServer]]:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    with two_models() as both:
        yield both


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path, free_port(), RUNTIME)
    yield home
    for each in home.started:
        if each.poll() is None:
            each.kill()
        each.communicate()


def write(home: Home, models: tuple[EndpointServer, EndpointServer], name: str, **policy: int) -> None:
    questions = home.folder / "questions.jsonl"
    questions.write_text("".join(json.dumps({"text": f"Question {number}?"}) + "\n" for number in range(3)))
    target, baseline = ({"endpoint": {"url": each.url, "model": "bot"}} for each in models)
    human = {"uri": f"file://{questions}", "format": "text"}
    home.write(
        "EvalJob",
        name,
        target=target,
        baseline=baseline,
        suites=[{"name": "people", "human": human}],
        report={"uri": f"file://{home.folder}/report"},
        runPolicy={"maxAttempts": 1, **policy},
    )


def page(home: Home, name: str) -> str:
    """Return the URL of the page, once the status has it."""
    found: list[str] = []

    def told() -> bool:
        if url := status(home, name).get("ratingUrl"):
            found.append(url)
        return bool(found)

    until(told)
    return found[0]


def status(home: Home, name: str) -> dict[str, Any]:
    said = home.tunesmith("get", f"evj/{name}", "-o", "json").stdout
    return dict(json.loads(said).get("status", {})) if said else {}


def test_the_status_names_the_page_until_there_are_enough_votes(
    shell: Home, models: tuple[EndpointServer, EndpointServer]
) -> None:
    write(shell, models, "asks")
    running = shell.start()
    url = page(shell, "asks")
    assert url.startswith("http://127.0.0.1:")
    assert url in shell.tunesmith("describe", "evj/asks").stdout
    ann = Person(url, "Ann")
    ann.vote(for_target)
    until(
        lambda: any(
            each["message"].endswith("waits for votes: 1 of 3") for each in status(shell, "asks").get("conditions", [])
        )
    )
    ann.vote(for_target)
    ann.vote(for_target)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 0, said
    ended = status(shell, "asks")
    assert ended["phase"] == "Succeeded"
    assert "ratingUrl" not in ended
    assert {each["metric"]: each["value"] for each in ended["results"]}["people/winRate"] == 1


def test_a_deadline_ends_it_and_the_next_evaluation_has_the_votes(
    shell: Home, models: tuple[EndpointServer, EndpointServer]
) -> None:
    write(shell, models, "hurries", activeDeadlineSeconds=30)
    running = shell.start()
    hurried = Person(page(shell, "hurries"), "Ann")
    hurried.vote(for_target)
    running.communicate(timeout=60)
    ended = status(shell, "hurries")
    assert ended["phase"] == "Failed"
    assert "DeadlineExceeded" in {each["reason"] for each in ended["conditions"]}
    assert "ratingUrl" not in ended

    (shell.folder / "manifests" / "evaljob-hurries.json").unlink()
    write(shell, models, "waits")
    shell.start()
    again = Person(page(shell, "waits"), "Ann")
    assert again.key == hurried.key
    assert again.state["own"] == again.state["given"] == 1
