"""Datasets of a Hub of this machine's own: what is read, from where, and what each refusal says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub import HubServer, read_in_process, serving

LINE = b'{"text": "%s"}\n'
CONFIGURATIONS = b"""---
configs:
- config_name: plain
  data_files: plain/train.jsonl
- config_name: fancy
  data_files: fancy/train.jsonl
---
# Two kinds of texts
"""
REFUSED = {
    "hf://org/small?split=dev": "there is no split dev; there are train, test: set split to one",
    "hf://org/small@v9": "the dataset has no such revision; name a branch, a tag or a commit",
    "hf://org/gone": "no such dataset on the Hub, or a private one; check the name, or set HF_TOKEN",
    "hf://org/kinds": "the dataset has the configurations plain, fancy; name one of them: hf://org/kinds/NAME",
    "hf://org/kinds/odd@main": (
        "the dataset has the configurations plain, fancy; name one of them: hf://org/kinds/NAME@main"
    ),
    "hf://org/bare": "the dataset has no files that can be read as data",
    "hf://org/program": "the dataset is made by a program, which is not run; use a copy made of data files",
    "hf://org/broken": "its files cannot be read: Expected object or value at position 0",
    "hf://json": "name a dataset as hf://ORG/NAME or hf://ORG/NAME@REVISION",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with serving() as server:
        server.files = {
            "org/small": {
                "README.md": b"# Small",
                "train.jsonl": LINE % b"one" + LINE % b"two",
                "test.jsonl": LINE % b"three",
            },
            "org/kinds": {
                "README.md": CONFIGURATIONS,
                "plain/train.jsonl": LINE % b"plain",
                "fancy/train.jsonl": LINE % b"fancy",
            },
            "org/bare": {"README.md": b"# Nothing"},
            "org/program": {"README.md": b"# Program", "program.py": b"raise SystemExit"},
            "org/broken": {"train.jsonl": b"{oops"},
        }
        yield server


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def ask(hub: HubServer, cache: Path, *uris: str, offline: bool = False) -> dict[str, dict[str, Any]]:
    sources = []
    for uri in uris:
        name, _, split = uri.partition("?split=")
        sources.append({"uri": name} | ({"split": split} if split else {}))
    return dict(zip(uris, read_in_process(hub, cache, *sources, offline=offline), strict=True))


# One process asks for all of them: it takes seconds to start.
@pytest.fixture(scope="module")
def answers(hub: HubServer, cache: Path) -> dict[str, dict[str, Any]]:
    pinned = f"hf://org/small@{hub.commit('org/small')}"
    good = ("hf://org/small", "hf://org/small?split=test", pinned, "hf://org/kinds/fancy")
    return ask(hub, cache, *good, *REFUSED)


def test_a_split_is_read_row_by_row(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["hf://org/small"]["rows"] == [["row 1", {"text": "one"}], ["row 2", {"text": "two"}]]
    assert answers["hf://org/small?split=test"]["rows"] == [["row 1", {"text": "three"}]]
    assert answers["hf://org/kinds/fancy"]["rows"] == [["row 1", {"text": "fancy"}]]


def test_the_digest_is_that_of_the_commit_and_the_split(answers: dict[str, dict[str, Any]], hub: HubServer) -> None:
    digest = answers["hf://org/small"]["digest"]
    assert len(digest) == 64
    assert digest == answers[f"hf://org/small@{hub.commit('org/small')}"]["digest"]
    assert digest != answers["hf://org/small?split=test"]["digest"]


@pytest.mark.parametrize("uri", REFUSED)
def test_what_cannot_be_read_says_why(answers: dict[str, dict[str, Any]], uri: str) -> None:
    name = uri.partition("?")[0]
    assert answers[uri] == {"message": f"{name}: {REFUSED[uri]}", "retryable": False}


def test_without_the_hub_the_copy_of_this_machine_is_read(
    answers: dict[str, dict[str, Any]], hub: HubServer, cache: Path
) -> None:
    commit = hub.commit("org/small")
    offline = ask(
        hub, cache, "hf://org/small", f"hf://org/small@{commit}", "hf://org/small@v9", "hf://org/other", offline=True
    )
    assert offline["hf://org/small"] == offline[f"hf://org/small@{commit}"] == answers["hf://org/small"]
    assert offline["hf://org/small@v9"]["message"] == (
        f"hf://org/small@v9: the Hub cannot be asked for revision v9, and what this machine has is {commit}; "
        "name that as the revision, or let the run reach the Hub"
    )
    assert offline["hf://org/other"]["message"] == (
        "hf://org/other: the Hub may not be asked (HF_HUB_OFFLINE is set) and this machine has no copy"
    )
