"""A published folder says what it is, to people and to programs."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tunesmith_api.contract import RunCheckpoints, RunIdentity, TrainRun
from tunesmith_api.data import Dataset, TrainingData
from tunesmith_api.finetunejob import DataSummary, Output
from tunesmith_api.training import Adapter, Method, Training
from tunesmith_runtime.models.lineage import describe_model


def run(model: str = "pvc://models/base", method: Method | None = None) -> TrainRun:
    return TrainRun(
        run=RunIdentity(kind="FineTuneJob", namespace="default", name="bot", uid="u", attempt=1),
        model=model,
        data=TrainingData(train=(Dataset(name="items", uri="pvc://data/items.jsonl", format="text"),)),
        method=method or Method(),
        training=Training(),
        checkpoints=RunCheckpoints(uri="pvc://models/checkpoints", every_steps=2, keep=1),
        output=Output(uri="pvc://models/bot"),
    )


def card(folder: Path, job: TrainRun, **files: Any) -> tuple[dict[str, Any], str]:
    """Return the data and the text of the card of a folder that holds these files."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    describe_model(
        folder, job, base_digest="sha256:b", data_digests={"items": "d"}, summary=DataSummary(), progress=None
    )
    found = ModelCard.load(folder / "README.md")
    return found.data.to_dict(), found.text


@pytest.mark.parametrize(
    ("architecture", "pipeline"),
    [
        ("LlamaForCausalLM", "text-generation"),
        ("BertForMaskedLM", "fill-mask"),
        ("T5ForConditionalGeneration", "text2text-generation"),
        ("RobertaForSequenceClassification", "text-classification"),
        ("LlamaForSequenceClassification", "text-classification"),
        ("BertForTokenClassification", "token-classification"),
        ("BertForQuestionAnswering", "question-answering"),
    ],
)
def test_the_card_of_a_model_names_its_task(tmp_path: Path, architecture: str, pipeline: str) -> None:
    data, _ = card(tmp_path, run("hf://org/base@main"), config={"architectures": [architecture]})
    assert (data["library_name"], data["pipeline_tag"], data["base_model"]) == ("transformers", pipeline, "org/base")


def test_the_card_of_an_adapter_says_how_to_load_it(tmp_path: Path) -> None:
    method = Method(adapter=Adapter(type="prompt-tuning"))
    data, text = card(tmp_path, run(method=method), adapter_config={"task_type": "CAUSAL_LM"})
    assert (data["library_name"], data["pipeline_tag"]) == ("peft", "text-generation")
    assert data["base_model"] == "pvc://models/base"
    assert data["tags"] == ["tunesmith", "sft", "prompt-tuning"]
    assert "It holds the adapter alone: load it with PEFT onto the base model." in text


def test_a_model_of_no_known_task_has_a_card_all_the_same(tmp_path: Path) -> None:
    data, _ = card(tmp_path, run(), config={"architectures": ["OurOwnModel"]})
    assert "pipeline_tag" not in data
