"""A tiny model, made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.tiny import make_tiny_model
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer

TEXTS = [
    "The moon goes round the earth, and the earth goes round the sun.",
    "What colour is the sky? The sky is blue.",
    "How many legs has a spider? A spider has eight legs.",
    "user assistant system",
] * 8


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
