"""Tasks of lm-eval give what lm-eval's own HFLM gives, from data that lies on storage, and nothing is asked twice."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_api.suites import HarnessSuite, Suite
from tunesmith_runtime.errors import ConfigError, DataError, RunError
from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.local_model import LocalModel
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.evaluate.samples import AnswerSample, SuiteResult
from tunesmith_runtime.evaluate.suites import harness

Config = dict[str, Any]
QUESTIONS = [
    {"question": "What colour is the sky?", "choices": ["blue", "bright green", "no colour at all"], "answer": 0},
    {"question": "How many legs has a spider?", "choices": ["four", "eight", "sixty", "none"], "answer": 1},
    {"question": "Où est la tour Eiffel ?", "choices": ["à Zürich", "東京", "Paris 🗼"], "answer": 2},
    {"question": "What goes round the earth?", "choices": ["moon", "sun"], "answer": 0},
    {"question": "", "choices": ["yes", "no", "naïve"], "answer": 1},
]
TEXTS = [
    {"text": "The moon goes round the earth."},
    {"text": "Die Straße ist naß; 空は青い。"},
    {"text": "Sky"},
    {"text": "The sky is blue, and the moon goes round the earth, which goes round the sun. " * 20},
]


def dataset(folder: Path, name: str, rows: Sequence[Config]) -> Config:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(path)}}, "test_split": "test"}


def choice_task(folder: Path, rows: Sequence[Config] = QUESTIONS) -> Config:
    metrics = [
        {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm", "acc_bytes")
    ]
    return {
        **dataset(folder, "choice", rows),
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": "answer",
        "doc_to_choice": "choices",
        "metric_list": metrics,
    }


def written_task(folder: Path, **settings: Any) -> Config:
    rows = [{"question": row["question"], "answer": row["choices"][row["answer"]]} for row in QUESTIONS]
    rows.append({"question": "Say nothing.", "answer": ""})
    return {
        **dataset(folder, "written", rows),
        "output_type": "generate_until",
        "doc_to_text": "{{question}}\n",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": ["\n", "e"], "max_gen_toks": 12, "do_sample": False},
        "metric_list": [
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True},
            {"metric": "chrf++", "aggregation": "chrf++", "higher_is_better": True},
        ],
        "filter_list": [
            {"name": "none", "filter": [{"function": "take_first"}]},
            {
                "name": "first-word",
                "filter": [{"function": "regex", "regex_pattern": "(\\w+)"}, {"function": "take_first"}],
            },
        ],
        **settings,
    }


def read_task(folder: Path) -> Config:
    return {
        **dataset(folder, "read", TEXTS),
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": name} for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")],
    }


def last_word_task(folder: Path) -> Config:
    rows = [{"start": text["text"].rpartition(" ")[0], "end": text["text"].rpartition(" ")[2]} for text in TEXTS[:3]]
    return {
        **dataset(folder, "last-word", rows),
        "output_type": "loglikelihood",
        "doc_to_text": "{{start}}",
        "doc_to_target": "{{' ' + end}}",
        "metric_list": [
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        ],
    }


def suite(tasks: dict[str, Config], **settings: Any) -> Suite:
    inline = [{"name": name, "config": config} for name, config in tasks.items()]
    fields = {"tasks": list(tasks), "inlineTasks": inline, **settings}
    return Suite(name="general", harness=HarnessSuite.model_validate_json(json.dumps(fields)))


def subject(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, known: Answers | None = None) -> LocalModel:
    return LocalModel(model, tokenizer, Batching(3, model.device), known or Answers("this"))


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: Suite) -> SuiteResult:
    return harness.run(harness.read(asked), subject(model, tokenizer), lambda _: None)


def by_lm_eval(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: dict[str, Config],
    batch_size: int,
    **options: Any,
) -> dict[str, float]:
    """What lm-eval's own evaluation of its own model class gives, under our names."""
    found = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
        tasks=[{"task": name, **json.loads(json.dumps(config))} for name, config in tasks.items()],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        **options,
    )
    assert found is not None
    return {
        f"{task}/{key.removesuffix(',none').replace(',first-word', '_first_word').replace('chrf++', 'chrfpp')}": value
        for task, values in found["results"].items()
        for key, value in values.items()
        if "," in key and "_stderr" not in key
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"numFewshot": 2},
        {"numFewshot": 1, "applyChatTemplate": True, "systemInstruction": "Be brief."},
        {"limit": 2},
    ],
    ids=["plain", "few-shot", "chat", "limit"],
)
def test_every_metric_is_lm_evals(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, options: Config
) -> None:
    tasks = {
        "choice": choice_task(tmp_path),
        "written": written_task(tmp_path),
        "read": read_task(tmp_path),
        "last_word": last_word_task(tmp_path),
    }
    theirs = by_lm_eval(
        model,
        tokenizer,
        tasks,
        batch_size=1,
        num_fewshot=options.get("numFewshot"),
        apply_chat_template=options.get("applyChatTemplate", False),
        system_instruction=options.get("systemInstruction"),
        limit=options.get("limit"),
    )
    ours = measure(model, tokenizer, suite(tasks, **options))
    assert len(theirs) == 12
    assert ours.metrics == pytest.approx(theirs, rel=1e-4)
    assert ours.notes == ()
