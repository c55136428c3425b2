"""A tiny model, made once, and an S3 server."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.judge import JudgeServer, judge_server
from tests.s3 import S3Server, use
from tests.tiny import TEXTS, make_tiny_model
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors are faster on one thread, and the machine is often shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", TEXTS)


@pytest.fixture(scope="session")
def tokenizer(tiny_path: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_path)


@pytest.fixture(scope="session")
def model(tiny_path: Path) -> PreTrainedModel:
    return load_causal_lm(tiny_path)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> S3Server:
    """Give an empty bucket, its credentials in the environment, and a temporary folder of the test's own."""
    use(monkeypatch, s3_server)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("scratch")))
    s3_server.empty()
    return s3_server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running
