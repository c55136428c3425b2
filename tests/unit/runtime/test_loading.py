"""A model folder loads whole, or says what it lacks."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, LlamaForSequenceClassification

from tests.tiny import make_tiny_bert, make_tiny_gpt2, make_tiny_t5, make_tiny_tokenizer
from tunesmith_runtime.errors import ConfigError, ModelError
from tunesmith_runtime.models.loading import load_causal_lm, load_model, load_tokenizer
from tunesmith_runtime.train.recipes.recipe import Labels

TEXTS = ["The sky is blue.", "How many legs has a spider?"] * 8
COLOURS = Labels("single", ("red", "green", "blue"))


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
    with pytest.raises(ModelError, match=r"is not a whole BertLMHeadModel: its files lack the weights cls"):
        load_causal_lm(tmp_path)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("models") / "bert", TEXTS)


def test_a_tokenizer_of_an_encoder_needs_no_end_and_gets_no_chat_template(bert: Path) -> None:
    tokenizer = load_tokenizer(bert, "sequence-classification")
    assert tokenizer.pad_token == "[PAD]"
    assert not tokenizer.chat_template
    assert load_tokenizer(bert, "masked-lm").mask_token == "[MASK]"


def test_a_tokenizer_without_end_and_padding_is_refused(tmp_path: Path) -> None:
    bare = make_tiny_tokenizer(["a"])
    bare.eos_token, bare.pad_token = None, None
    bare.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has no padding token; set pad_token"):
        load_tokenizer(tmp_path, "token-classification")


def test_a_tokenizer_without_mask_cannot_serve_masked_language_modelling(tiny_path: Path) -> None:
    with pytest.raises(ModelError, match="has no mask token"):
        load_tokenizer(tiny_path, "masked-lm")


def test_a_classifier_is_told_its_classes(bert: Path) -> None:
    model = load_model(bert, "sequence-classification", labels=COLOURS)
    assert model.config.id2label == {0: "red", 1: "green", 2: "blue"}
    assert model.config.label2id == {"red": 0, "green": 1, "blue": 2}
    assert model.config.problem_type == "single_label_classification"
    assert model.classifier.out_features == 3


@pytest.mark.parametrize(
    ("labels", "outputs", "problem"),
    [
        (Labels("multi", ("red", "blue")), 2, "multi_label_classification"),
        (Labels("regression", ()), 1, "regression"),
    ],
)
def test_a_classifier_can_have_several_classes_or_a_number(
    bert: Path, labels: Labels, outputs: int, problem: str
) -> None:
    model = load_model(bert, "sequence-classification", labels=labels)
    assert (model.config.num_labels, model.config.problem_type) == (outputs, problem)


def test_a_tagger_is_told_its_tags(tiny_path: Path) -> None:
    model = load_model(tiny_path, "token-classification", labels=COLOURS)
    assert model.config.id2label == {0: "red", 1: "green", 2: "blue"}
    assert model.config.problem_type is None


def test_a_reward_model_has_one_output_and_knows_its_padding(tmp_path: Path) -> None:
    make_tiny_gpt2(tmp_path, TEXTS)
    model = load_model(tmp_path, "causal-lm", reward=True)
    assert type(model).__name__ == "GPT2ForSequenceClassification"
    assert model.score.out_features == 1
    assert model.config.pad_token_id == load_tokenizer(tmp_path).pad_token_id
    assert model.config.id2label == {0: "reward"}


def test_a_head_begins_at_random_the_same_for_the_same_seed(bert: Path) -> None:
    weights = [load_model(bert, "question-answering", seed=seed).qa_outputs.weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_head_for_other_classes_is_replaced(bert: Path, tmp_path: Path) -> None:
    first = load_model(bert, "sequence-classification", labels=Labels("single", ("no", "yes")))
    first.save_pretrained(tmp_path)
    again = load_model(tmp_path, "sequence-classification", labels=COLOURS)
    assert again.classifier.out_features == 3
    assert torch.equal(again.bert.pooler.dense.weight, first.bert.pooler.dense.weight)


def test_a_head_of_the_same_classes_is_kept(bert: Path, tmp_path: Path) -> None:
    first = load_model(bert, "token-classification", labels=COLOURS)
    first.save_pretrained(tmp_path)
    again = load_model(tmp_path, "token-classification", labels=COLOURS)
    assert torch.equal(again.classifier.weight, first.classifier.weight)


def test_weights_below_the_head_may_not_be_missing(tmp_path: Path) -> None:
    small = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(small).save_pretrained(tmp_path)
    small.num_hidden_layers = 2
    small.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is not a whole BertForSequenceClassification: .* bert\.encoder\.layer\.1"):
        load_model(tmp_path, "sequence-classification", labels=COLOURS)


def test_weights_below_the_head_may_not_be_of_another_shape(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    config = BertConfig.from_pretrained(bert, intermediate_size=32)
    config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is not a whole BertForTokenClassification: .* bert\.encoder\.layer\.0"):
        load_model(tmp_path, "token-classification", labels=COLOURS)


def test_each_task_has_its_class(bert: Path, tiny_path: Path, tmp_path: Path) -> None:
    assert type(load_model(bert, "masked-lm")).__name__ == "BertForMaskedLM"
    assert type(load_model(bert, "sequence-classification")) is BertForSequenceClassification
    assert type(load_model(tiny_path, "sequence-classification")) is LlamaForSequenceClassification
    assert type(load_model(make_tiny_t5(tmp_path, TEXTS), "seq2seq-lm")).__name__ == "T5ForConditionalGeneration"


def test_four_bits_without_a_gpu_are_refused(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"loadIn4bit: needs a CUDA GPU, and there is none; set resources\.gpu, or"):
        load_model(tiny_path, "causal-lm", load_in_4bit=True)
