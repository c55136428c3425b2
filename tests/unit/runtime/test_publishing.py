"""A trained model of any family, with any adapter, is the same model once it is saved and loaded elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from tests.unit.runtime.families import COLOURS, MAKERS, learn_a_step, logits
from tunesmith_api.training import Adapter, Task
from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.models import wrapping
from tunesmith_runtime.models.adapted import load_adapted, merge_folder
from tunesmith_runtime.models.adapters import apply_adapter, check_adapter
from tunesmith_runtime.models.heads import read_labels
from tunesmith_runtime.models.lineage import model_digest
from tunesmith_runtime.models.loading import load_causal_lm, load_model, load_tokenizer
from tunesmith_runtime.models.publishing import Saved, save_model

ADAPTERS = {
    "lora": Adapter(r=4),
    "rslora": Adapter(r=4, use_rslora=True),
    "dora": Adapter(r=4, use_dora=True),
    "ia3": Adapter(type="ia3"),
    "prefix": Adapter(type="prefix-tuning", num_virtual_tokens=3),
    "prompt": Adapter(type="prompt-tuning", num_virtual_tokens=3),
    "full": Adapter(type="full"),
}
# Each family as what it is, and each head on some families; which adapter does not fit is in test_adapters.py.
LANGUAGE_MODELS: list[tuple[str, Task]] = [
    ("llama", "causal-lm"),
    ("qwen2", "causal-lm"),
    ("qwen3", "causal-lm"),
    ("gpt2", "causal-lm"),
    ("bert", "masked-lm"),
    ("roberta", "masked-lm"),
    ("t5", "seq2seq-lm"),
]
HEADED: list[tuple[str, Task]] = [
    ("llama", "sequence-classification"),
    ("gpt2", "token-classification"),
    ("bert", "sequence-classification"),
    ("bert", "question-answering"),
    ("roberta", "sequence-classification"),
    ("roberta", "token-classification"),
    ("t5", "sequence-classification"),
]
UNFIT = {
    *((family, "masked-lm", adapter) for family in ("bert", "roberta") for adapter in ("prefix", "prompt")),
    ("llama", "sequence-classification", "prompt"),
    ("t5", "sequence-classification", "prefix"),
    ("t5", "sequence-classification", "prompt"),
}
# rsLoRA is LoRA with another number in it, DoRA depends on the kind of layer.
CASES = [
    (family, task, adapter)
    for family, task in [*LANGUAGE_MODELS, *HEADED]
    for adapter in ADAPTERS
    if (family, task, adapter) not in UNFIT
    and (
        adapter not in ("rslora", "dora")
        or task == "causal-lm"
        or (family, task) == ("bert", "sequence-classification")
    )
]
AUTO: dict[Task, Any] = {
    "causal-lm": AutoModelForCausalLM,
    "masked-lm": AutoModelForMaskedLM,
    "seq2seq-lm": AutoModelForSeq2SeqLM,
    "sequence-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "question-answering": AutoModelForQuestionAnswering,
}
Base = Callable[[str], Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Return the folder of a family's model, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("models")
    return lambda family: folder / family if (folder / family).is_dir() else MAKERS[family](folder / family)


def trained(path: Path, task: Task, adapter: Adapter, *, reward: bool = False) -> PreTrainedModel:
    check_adapter(path, adapter, task, reward=reward)
    model = load_model(path, task, torch.float32, labels=COLOURS, reward=reward, seed=1)
    model = apply_adapter(model, adapter, task)
    learn_a_step(model, task)
    return model


def with_peft(path: Path, folder: Path, task: Task) -> PreTrainedModel:
    """Load the adapter as a user of PEFT does, with another random head than it was trained with."""
    torch.manual_seed(99)
    whole = AUTO[task].from_pretrained(path, dtype=torch.float32, **read_labels(folder))
    whole.config.get_text_config().pad_token_id = 0
    with wrapping.quiet():
        return PeftModel.from_pretrained(whole, folder)


@pytest.mark.parametrize(("family", "task", "adapter"), CASES)
def test_what_was_trained_is_what_is_loaded(base: Base, tmp_path: Path, family: str, task: Task, adapter: str) -> None:
    path = base(family)
    model = trained(path, task, ADAPTERS[adapter])
    expected, untrained = logits(model, task), logits(load_model(path, task, labels=COLOURS, seed=1), task)
    assert model.training is False

    saved = save_model(model, load_tokenizer(path, task), tmp_path, str(path))

    alone = adapter in ("prefix", "prompt")
    assert saved == Saved(is_adapter=adapter != "full", merged=adapter != "full" and not alone)
    assert (tmp_path / "config.json").is_file() != alone
    again = with_peft(path, tmp_path, task) if alone else AUTO[task].from_pretrained(tmp_path, dtype=torch.float32)
    # Merging adds the same numbers in another order.
    torch.testing.assert_close(logits(again, task), expected, atol=1e-4 if saved.merged else 1e-5, rtol=1e-5)
    assert len(untrained) != len(expected) or (untrained - expected).abs().max() > 1e-3
    AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("family", "task", "adapter"),
    [
        ("llama", "causal-lm", "lora"),
        ("gpt2", "token-classification", "dora"),
        ("bert", "sequence-classification", "ia3"),
        ("bert", "question-answering", "lora"),
        ("t5", "seq2seq-lm", "lora"),
    ],
)
def test_an_adapter_is_published_alone_and_merged_later(
    base: Base, tmp_path: Path, family: str, task: Task, adapter: str
) -> None:
    path, alone, whole = base(family), tmp_path / "alone", tmp_path / "whole"
    before = model_digest(path)
    model = trained(path, task, ADAPTERS[adapter])
    expected = logits(model, task)

    saved = save_model(model, load_tokenizer(path, task), alone, str(path), merge=False)

    assert saved == Saved(is_adapter=True, merged=False)
    assert not list(alone.glob("model*.safetensors"))
    torch.testing.assert_close(logits(with_peft(path, alone, task), task), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits(load_adapted(alone), task), expected, atol=1e-4, rtol=1e-5)
    merge_folder(alone, whole)
    again = AUTO[task].from_pretrained(whole, dtype=torch.float32)
    torch.testing.assert_close(logits(again, task), expected, atol=1e-4, rtol=1e-5)
    AutoTokenizer.from_pretrained(whole)
    assert model_digest(path) == before


def test_a_merged_model_keeps_its_adapter_beside_it(base: Base, tmp_path: Path) -> None:
    path = base("bert")
    model = trained(path, "sequence-classification", ADAPTERS["lora"])
    expected = logits(model, "sequence-classification")
    save_model(model, load_tokenizer(path, "sequence-classification"), tmp_path, str(path))
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        path
    )
    again = with_peft(path, tmp_path / "adapter", "sequence-classification")
    torch.testing.assert_close(logits(again, "sequence-classification"), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("adapter", ["lora", "ia3", "prefix", "full"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_reward_model_is_a_classifier_of_one_output(base: Base, tmp_path: Path, family: str, adapter: str) -> None:
    path = base(family)
    model = trained(path, "causal-lm", ADAPTERS[adapter], reward=True)
    expected = logits(model, "causal-lm")
    assert len(expected) == 2
    save_model(model, load_tokenizer(path), tmp_path, str(path))
    again = (
        load_adapted(tmp_path)
        if adapter == "prefix"
        else AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    )
    assert again.config.id2label == {0: "reward"}
    torch.testing.assert_close(logits(again, "causal-lm"), expected, atol=1e-4, rtol=1e-5)


def test_the_classes_are_published_with_a_classifier(base: Base, tmp_path: Path) -> None:
    path = base("roberta")
    for adapter, merge in (("lora", None), ("lora", False)):
        folder = tmp_path / f"{adapter}-{merge}"
        model = trained(path, "sequence-classification", ADAPTERS[adapter])
        save_model(model, load_tokenizer(path, "sequence-classification"), folder, str(path), merge=merge)
        config = load_adapted(folder).config if merge is False else AutoConfig.from_pretrained(folder)
        assert config.id2label == {0: "red", 1: "green", 2: "blue"}
        assert config.problem_type == "single_label_classification"


@pytest.mark.parametrize(
    ("task", "adapter"), [("causal-lm", "lora"), ("causal-lm", "full"), ("sequence-classification", "lora")]
)
def test_weights_that_were_gathered_from_workers_are_saved(
    base: Base, tmp_path: Path, task: Task, adapter: str
) -> None:
    path = base("llama")
    model = trained(path, task, ADAPTERS[adapter])
    expected = logits(model, task)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # what a worker holds is only a part
    saved = save_model(model, load_tokenizer(path, task), tmp_path, str(path), weights)
    assert saved.merged == (adapter == "lora")
    again = AUTO[task].from_pretrained(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(logits(again, task), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Position ids are not supported for parameter efficient tuning")
@pytest.mark.parametrize("adapter", ["lora", "prefix", "prompt"])
def test_an_adapter_alone_is_asked_like_a_model(base: Base, tmp_path: Path, adapter: str) -> None:
    path = base("llama")
    model = trained(path, "causal-lm", ADAPTERS[adapter])
    expected = logits(model, "causal-lm").view(2, -1, model.config.vocab_size)[:, -9:]
    save_model(model, load_tokenizer(path), tmp_path, str(path), merge=False)

    asked = load_causal_lm(tmp_path)

    assert isinstance(asked, PeftModel) == (adapter != "lora")
    torch.testing.assert_close(logits(asked, "causal-lm"), expected.flatten(), atol=1e-4, rtol=1e-5)
    tokenizer = load_tokenizer(tmp_path)
    prompt = tokenizer("The sky", return_tensors="pt")
    assert asked.generate(**prompt, max_new_tokens=3, do_sample=False).shape[1] > prompt["input_ids"].shape[1]


def test_an_adapter_finds_its_base_by_its_lineage(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = base("llama")
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(path.parent.parent))
    save_model(trained(path, "causal-lm", ADAPTERS["lora"]), load_tokenizer(path), tmp_path, str(path), merge=False)
    settings = tmp_path / "adapter_config.json"
    settings.write_text(settings.read_text().replace(str(path), "/elsewhere"))
    with pytest.raises(
        ModelError, match=r"its base model is missing: /elsewhere in its adapter_config\.json is no mod"
    ):
        load_causal_lm(tmp_path)
    lineage = {"baseModel": {"uri": f"pvc://{path.parent.name}/{path.name}", "digest": "sha256:0"}}
    (tmp_path / "lineage.json").write_text(json.dumps(lineage))
    assert type(load_causal_lm(tmp_path)).__name__ == "LlamaForCausalLM"


def test_an_adapter_of_another_task_or_model_is_refused(base: Base, tmp_path: Path) -> None:
    path = base("llama")
    model = trained(path, "token-classification", ADAPTERS["lora"])
    save_model(model, load_tokenizer(path), tmp_path, str(path), merge=False)
    with pytest.raises(ModelError, match="is an adapter for task token-classification, not for causal-lm"):
        load_causal_lm(tmp_path)
    with pytest.raises(ModelError, match="its adapter does not fit the base model"):
        load_adapted(tmp_path, base=base("gpt2"))


def test_vectors_cannot_be_merged_later(base: Base, tmp_path: Path) -> None:
    path = base("llama")
    model = trained(path, "causal-lm", ADAPTERS["prompt"])
    assert not save_model(model, load_tokenizer(path), tmp_path, str(path), merge=True).merged
    with pytest.raises(ModelError, match="an adapter of type PROMPT_TUNING cannot be merged into its model"):
        merge_folder(tmp_path, tmp_path / "whole")
