"""A model folder loads whole, or says what it lacks."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from tests.tiny import make_tiny_tokenizer
from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer


@pytest.fixture
def folder(tiny_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_path, tmp_path / "model"))


def test_a_whole_model_loads_ready_to_be_asked(tiny_path: Path) -> None:
    model = load_causal_lm(tiny_path)
    assert model.dtype == (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    assert not model.training
    assert load_tokenizer(tiny_path).chat_template


def test_a_tokenizer_without_padding_pads_with_its_end(tmp_path: Path) -> None:
    bare = make_tiny_tokenizer(["a"])
    bare.pad_token, bare.chat_template = None, None
    bare.save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert "### Assistant" in str(tokenizer.chat_template)


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    endless = make_tiny_tokenizer(["a"])
    endless.eos_token = None
    endless.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has no end-of-sequence token"):
        load_tokenizer(tmp_path)


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no tokenizer: none of tokenizer\.json, "):
        load_tokenizer(tmp_path)


def test_a_broken_tokenizer_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r": its tokenizer cannot be loaded: .+"):
        load_tokenizer(tmp_path)


def test_a_config_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("model: llama\n")
    with pytest.raises(ModelError, match=r"cannot be loaded as a causal language model: .*not a valid JSON"):
        load_causal_lm(folder)


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"cannot be loaded as a causal language model: .*model\.safetensors"):
        load_causal_lm(folder)


def test_a_weight_file_cut_short_is_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"cannot be loaded as a causal language model: .+"):
        load_causal_lm(folder)


def test_an_unknown_architecture_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "abacus"}')
    with pytest.raises(ModelError, match="abacus"):
        load_causal_lm(folder)


def test_a_model_without_a_language_model_head_is_refused(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is not a whole BertLMHeadModel: its files lack the weights cls"):
        load_causal_lm(tmp_path)
