"""The two API servers of `make cluster-up`, with our three kinds on them."""

import os
from collections.abc import Iterator

import pytest

from tests.crds.server import Server
from tunesmith_api.base import GROUP
from tunesmith_api.resources import PLURALS

NOT_THERE = "the API server at {} does not answer: run make cluster-up first"


@pytest.fixture(scope="session")
def server() -> Server:
    """The CRD server of a current Kubernetes."""
    address = os.environ.get("TUNESMITH_CRD_SERVER", "https://127.0.0.1:6444")
    server = Server(address, GROUP)
    assert server.answers(), NOT_THERE.format(address)
    for kind in PLURALS:
        answer = server.load(kind)
        assert answer.accepted, answer.message
    return server


@pytest.fixture(scope="module")
def old_server() -> Iterator[Server]:
    """The API server of Kubernetes 1.20, with our kinds in a group of the tests' own: ours may be in use there.

    They are gone when the tests of another folder begin: to those `ftj` would name the copy, whose group comes first.
    """
    address = os.environ.get("TUNESMITH_OLD_SERVER", "https://127.0.0.1:6443")
    server = Server(address, f"crd-tests.{GROUP}", strict=False)
    assert server.answers(), NOT_THERE.format(address)
    for kind in PLURALS:
        answer = server.load(kind)
        assert answer.accepted, answer.message
    yield server
    for kind in PLURALS:
        server.unload(kind)
