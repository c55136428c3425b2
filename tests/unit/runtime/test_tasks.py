"""What a model is trained to do follows from its architecture, the data and the method."""

import json
from pathlib import Path

import pytest
from transformers import (
    BertConfig,
    FalconMambaConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    RobertaConfig,
    T5Config,
    ViTConfig,
)

from tunesmith_api.data import DataFormat
from tunesmith_api.training import MethodType, Task
from tunesmith_runtime.errors import ConfigError, ModelError
from tunesmith_runtime.models.tasks import infer_task, kind_of, task_of_folder

LLAMA = LlamaConfig(architectures=["LlamaForCausalLM"])
BERT = BertConfig(architectures=["BertForMaskedLM"])
T5 = T5Config(architectures=["T5ForConditionalGeneration"])


@pytest.mark.parametrize(
    ("config", "formats", "method", "task"),
    [
        (LLAMA, {"messages"}, "sft", "causal-lm"),
        (LLAMA, {"text"}, "pt", "causal-lm"),
        (LLAMA, {"squad", "alpaca", "text"}, "sft", "causal-lm"),
        (LLAMA, {"textClassification"}, "sft", "sequence-classification"),
        (LLAMA, {"tokenClassification"}, "sft", "token-classification"),
        (LLAMA, {"preference"}, "dpo", "causal-lm"),
        (LLAMA, {"preference"}, "orpo", "causal-lm"),
        (LLAMA, {"kto"}, "kto", "causal-lm"),
        (LLAMA, {"alpaca"}, "grpo", "causal-lm"),
        (GPT2Config(), {"preference"}, "rm", "causal-lm"),
        (BERT, {"text"}, "pt", "masked-lm"),
        (BERT, {"squad"}, "sft", "question-answering"),
        (BERT, {"textClassification"}, "sft", "sequence-classification"),
        (RobertaConfig(), {"tokenClassification"}, "sft", "token-classification"),
        (T5, {"squad"}, "sft", "seq2seq-lm"),
        (T5, {"messages", "promptCompletion"}, "sft", "seq2seq-lm"),
        (T5, {"textClassification"}, "sft", "sequence-classification"),
        (BertConfig(architectures=["BertLMHeadModel"], is_decoder=True), {"alpaca"}, "sft", "causal-lm"),
    ],
)
def test_architecture_data_and_method_say_the_task(
    config: PretrainedConfig, formats: set[DataFormat], method: MethodType, task: Task
) -> None:
    assert infer_task(config, formats, method, None) == task
    assert infer_task(config, formats, method, task) == task


def test_a_decoder_can_be_asked_to_find_answers_in_a_text() -> None:
    assert infer_task(LLAMA, {"squad"}, "sft", "question-answering") == "question-answering"


def test_a_fine_tuned_classifier_can_learn_other_classes() -> None:
    classifier = BertConfig(architectures=["BertForSequenceClassification"])
    assert infer_task(classifier, {"textClassification"}, "sft", None) == "sequence-classification"


@pytest.mark.parametrize(
    ("config", "formats", "method", "asked", "sentence"),
    [
        (
            LLAMA,
            {"textClassification"},
            "dpo",
            None,
            r"^spec\.data: format textClassification trains a classifier, but spec\.method\.type is dpo, which learns "
            r"from preference data; use one of feedback, pairs, preference$",
        ),
        (LLAMA, {"messages"}, "rm", None, "format messages holds texts or answers, but spec.method.type is rm"),
        (
            BERT,
            {"preference"},
            "dpo",
            None,
            r"^spec\.method\.type: dpo trains models that write from left to right, and BertForMaskedLM is an encoder, "
            r"which reads and does not write; set it to one of pt, sft, or use a model of task causal-lm$",
        ),
        (
            BERT,
            {"messages"},
            "sft",
            None,
            r"^spec\.data: BertForMaskedLM is an encoder, .*; by sft it learns from squad "
            r"\(question-answering\); .*, not from messages$",
        ),
        (BERT, {"text", "squad"}, "sft", None, "not from squad, text"),
        (BERT, {"text"}, "sft", None, "not from text; it learns from text by pt$"),
        (LLAMA, {"preference"}, "grpo", None, "spec.method.type is grpo, which learns from prompts"),
        (T5, {"text"}, "sft", None, "T5ForConditionalGeneration is an encoder and a decoder, .*, not from text"),
        (T5, {"preference"}, "rm", None, "rm trains models that write from left to right"),
        (BERT, {"text"}, "sft", "causal-lm", r"^spec\.model\.task: BertForMaskedLM cannot be of task causal-lm: it is"),
        (LLAMA, {"text"}, "sft", "masked-lm", "LlamaForCausalLM cannot be of task masked-lm"),
        (BERT, {"squad"}, "pt", "question-answering", "question-answering cannot learn by pt; set method to sft"),
        (LLAMA, {"text"}, "sft", "sequence-classification", "cannot learn from format text; it takes textClassific"),
        (FalconMambaConfig(), {"preference"}, "rm", None, "no class of falcon_mamba for a reward model"),
        (ViTConfig(), {"text"}, "pt", None, r"^spec\.model: transformers has no class of vit for task masked-lm"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(
    config: PretrainedConfig, formats: set[DataFormat], method: MethodType, asked: Task | None, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        infer_task(config, formats, method, asked)


def test_a_folder_is_asked_for_its_configuration_only(tmp_path: Path) -> None:
    T5.save_pretrained(tmp_path)
    assert infer_task(tmp_path, {"alpaca"}, "sft", None) == "seq2seq-lm"


def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    with pytest.raises(ModelError, match=r"its config\.json cannot be used: .*abacus"):
        infer_task(tmp_path, {"text"}, "pt", None)


def test_an_adapter_is_no_model_to_begin_with(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is an adapter; name its base model in spec\.model\.uri and the adapter in"):
        infer_task(tmp_path, {"text"}, "pt", None)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (LLAMA, "decoder"),
        (BERT, "encoder"),
        (T5, "encoder-decoder"),
        (BertConfig(), "encoder"),
        (BertConfig(architectures=["BertLMHeadModel"]), "decoder"),
        (BertConfig(is_decoder=True), "decoder"),
    ],
)
def test_kinds(config: PretrainedConfig, kind: str) -> None:
    assert kind_of(config) == kind


@pytest.mark.parametrize(
    ("name", "content", "task"),
    [
        ("config.json", {"architectures": ["LlamaForCausalLM"]}, "causal-lm"),
        ("config.json", {"architectures": ["LlamaForSequenceClassification"]}, "sequence-classification"),
        ("config.json", {"architectures": ["BartForConditionalGeneration"]}, "seq2seq-lm"),
        ("config.json", {"architectures": ["BertModel"]}, None),
        ("config.json", [], None),
        ("adapter_config.json", {"task_type": "QUESTION_ANS"}, "question-answering"),
        ("adapter_config.json", {"task_type": None}, "masked-lm"),
    ],
)
def test_a_saved_folder_says_what_it_does(tmp_path: Path, name: str, content: object, task: Task | None) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    assert task_of_folder(tmp_path) == task
