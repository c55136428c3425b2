"""Tasks of lm-eval give what lm-eval's own HFLM gives, from data that lies on storage, and nothing is asked twice."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.echo import echo_server
from tests.tiny import make_tiny_model
from tunesmith_api.contract import EvaluateRun
from tunesmith_api.endpoint import Endpoint
from tunesmith_api.suites import EvalSuite, HarnessSuite
from tunesmith_runtime.endpoint import Caller, connected
from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.endpoint_model import EndpointModel
from tunesmith_runtime.evaluate.evaluating import evaluate
from tunesmith_runtime.evaluate.local_model import LocalModel
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.evaluate.samples import AnswerSample, SuiteResult, TaskSample
from tunesmith_runtime.evaluate.suites import harness
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.storage.journal import Journal

Config = dict[str, Any]
QUESTIONS: list[Config] = [
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


def suite(defined: dict[str, Config], **settings: Any) -> EvalSuite:
    inline = [{"name": name, "config": config} for name, config in defined.items()]
    fields = {"tasks": list(defined), "inlineTasks": inline, **settings}
    return EvalSuite(name="general", harness=HarnessSuite.model_validate_json(json.dumps(fields)))


def subject(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, known: Answers | None = None) -> LocalModel:
    return LocalModel(model, tokenizer, Batching(3, model.device), known or Answers("this"))


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: EvalSuite) -> SuiteResult:
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


def test_batches_change_nothing(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    tasks = {"choice": choice_task(tmp_path), "written": written_task(tmp_path), "read": read_task(tmp_path)}
    loaded = harness.read(suite(tasks))
    alone, together = (
        harness.run(loaded, LocalModel(model, tokenizer, Batching(rows, model.device), Answers("this")), lambda _: None)
        for rows in (1, 64)
    )
    assert alone.metrics == pytest.approx(together.metrics, rel=1e-4)
    assert [each.answer for each in alone.samples if isinstance(each, AnswerSample)] == [
        each.answer for each in together.samples if isinstance(each, AnswerSample)
    ]


def test_nothing_is_asked_twice(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {"choice": choice_task(tmp_path), "written": written_task(tmp_path), "read": read_task(tmp_path)}
    loaded = harness.read(suite(tasks))
    journal = Journal(tmp_path / "answers.jsonl")
    killed_after = 3

    def until_killed(done: int) -> None:
        nonlocal killed_after
        killed_after -= done
        if killed_after <= 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harness.run(loaded, subject(model, tokenizer, Answers("this", journal)), until_killed)
    known = len((tmp_path / "answers.jsonl").read_text().splitlines())
    seen: list[int] = []
    again = Answers("this", Journal(tmp_path / "answers.jsonl"))
    result = harness.run(loaded, subject(model, tokenizer, again), seen.append)
    assert sum(seen) == len(loaded.records) == 15
    assert result.metrics == measure(model, tokenizer, suite(tasks)).metrics
    lines = [json.loads(line)["key"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert 0 < known < len(lines)
    assert len(set(lines)) == len(lines)

    monkeypatch.setattr(model, "forward", lambda *_, **__: pytest.fail("the model was asked again"))
    whole = Answers("this", Journal(tmp_path / "answers.jsonl"))
    assert harness.run(loaded, subject(model, tokenizer, whole), lambda _: None).metrics == result.metrics


def test_samples_say_what_was_asked_and_answered(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    tasks = {"choice": choice_task(tmp_path), "written": written_task(tmp_path), "read": read_task(tmp_path)}
    found = measure(model, tokenizer, suite(tasks, numFewshot=1)).samples
    samples = [each for each in found if isinstance(each, TaskSample)]
    assert [each.index for each in samples] == list(range(15))
    choice, written, read = samples[0], samples[6], samples[11]
    assert (choice.task, written.task, read.task) == ("choice", "written", "read")
    assert choice.prompt.endswith("\n\nQuestion: What colour is the sky?\nAnswer:")
    assert choice.references == (" blue",)
    assert choice.answer.strip() in QUESTIONS[0]["choices"]
    assert choice.scores.keys() == {"acc", "acc_norm", "acc_bytes"}
    assert written.references == ("eight",)
    assert written.scores.keys() == {"exact_match", "exact_match_first_word"}
    assert (read.answer, read.references) == ("", ())
    assert read.prompt == TEXTS[0]["text"]
    assert read.scores.keys() == {"word_perplexity", "byte_perplexity", "bits_per_byte"}


def test_metrics_are_functions_of_sums_over_their_samples(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    tasks = {
        "choice": choice_task(tmp_path),
        "written": written_task(tmp_path),
        "read": read_task(tmp_path),
        "last_word": last_word_task(tmp_path),
    }
    result = measure(model, tokenizer, suite(tasks))
    for metric, sums in result.summands.items():
        assert float(sums.of_sums(sums.rows.sum(axis=0)[None])[0]) == pytest.approx(result.metrics[metric], rel=1e-9)
    # chrF of a corpus comes from all its texts.
    assert result.metrics.keys() - result.summands.keys() == {"written/chrfpp", "written/chrfpp_first_word"}
    assert (result.counts["written/chrfpp"], result.counts["read/bits_per_byte"]) == (6, 4)
    assert result.summands["choice/acc"].shares
    lower = {name for name, higher in result.higher_is_better.items() if not higher}
    assert lower == {
        "read/word_perplexity",
        "read/byte_perplexity",
        "read/bits_per_byte",
        "last_word/perplexity",
    }


@pytest.mark.parametrize("by_size", [True, False])
def test_a_group_is_the_mean_of_its_tasks(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, by_size: bool
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    tasks = {
        "choice": choice_task(tmp_path),
        "few": choice_task(few, QUESTIONS[1:3]),
        "both": {
            "task": ["choice", "few"],
            "aggregate_metric_list": [{"metric": "acc_norm", "aggregation": "mean", "weight_by_size": by_size}],
        },
    }
    result = measure(model, tokenizer, suite(tasks, tasks=["both"]))
    one, other = result.metrics["choice/acc_norm"], result.metrics["few/acc_norm"]
    whole = (5 * one + 2 * other) / 7 if by_size else (one + other) / 2
    assert result.metrics["both/acc_norm"] == pytest.approx(whole)
    sums = result.summands["both/acc_norm"]
    assert len(sums.rows) == 7
    assert float(sums.of_sums(sums.rows.sum(axis=0)[None])[0]) == pytest.approx(whole)
    assert result.higher_is_better["both/acc_norm"]


def test_drawn_answers_differ_and_come_again(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    drawn = {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 1.0, "top_k": 0}
    task = written_task(tmp_path, repeats=2, generation_kwargs=drawn)
    del task["filter_list"]
    known = Answers("this")
    harness.run(harness.read(suite({"drawn": task}, limit=2)), subject(model, tokenizer, known), lambda _: None)
    answers = [str((known.get(key) or {})["answer"]) for key in known.used]
    assert len(set(answers)) == len(answers) == 4


@pytest.mark.parametrize(
    ("generation", "told"),
    [
        ({"max_gen_toks": 600}, "lets the model write 600 tokens, and it can read no more than 512"),
        ({"max_gen_toks": 4, "unheard_of": 1}, "generation_kwargs of a task cannot be used: .*unheard_of"),
    ],
)
def test_what_a_model_cannot_be_asked_for_is_told(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, generation: Config, told: str
) -> None:
    task = written_task(tmp_path, generation_kwargs={"until": ["\n"], **generation})
    with pytest.raises(ConfigError, match=told):
        measure(model, tokenizer, suite({"written": task}))


def test_an_empty_answer_has_no_likelihood(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    rows = [QUESTIONS[0], {"question": "?", "choices": ["", "yes"], "answer": 0}]
    task = choice_task(tmp_path, rows) | {"target_delimiter": ""}
    with pytest.raises(DataError, match=r"task choice: sample 2 has an empty answer"):
        measure(model, tokenizer, suite({"choice": task}))
    # With a blank before it, there is something to be likely.
    result = measure(model, tokenizer, suite({"choice": choice_task(tmp_path, rows)}))
    with np.errstate(divide="ignore"):
        theirs = by_lm_eval(model, tokenizer, {"choice": choice_task(tmp_path, rows)}, batch_size=1)
    assert result.metrics["choice/acc"] == theirs["choice/acc"]


def test_answers_that_cannot_be_scored_are_told(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    task = written_task(tmp_path, metric_list=[{"metric": "f1"}])
    with pytest.raises(DataError, match="lm-eval cannot put the questions of written or score the answers"):
        measure(model, tokenizer, suite({"written": task}))


def test_an_endpoint_answers_tasks_in_which_the_model_writes(tmp_path: Path) -> None:
    tasks = {"written": written_task(tmp_path)}
    with echo_server() as server:
        spec = Endpoint(url=server.url, model="echo", max_retries=0)
        with connected(spec, Caller("the target's endpoint", "spec.target.endpoint", None, "")) as endpoint:
            known, seen = Answers("this"), list[int]()
            asked = suite(tasks, systemInstruction="Be brief.", numFewshot=0)
            result = harness.run(harness.read(asked), EndpointModel(endpoint, known), seen.append)
            assert sum(seen) == 6
            first = server.requests[0]
            assert first["messages"][0] == {"role": "system", "content": "Be brief."}
            assert (first["max_tokens"], first["temperature"], first["stop"]) == (12, 0.0, ["\n", "e"])
            # Up to the first "e", whether or not the endpoint stops there.
            sample = result.samples[1]
            assert isinstance(sample, AnswerSample)
            assert sample.answer == "How many l"
            assert result.metrics["written/exact_match"] == 0
            harness.run(harness.read(asked), EndpointModel(endpoint, known), lambda _: None)
            assert len(server.requests) == 6

            likelihoods = harness.read(suite({"choice": choice_task(tmp_path)}))
            with pytest.raises(ConfigError, match="task choice compares likelihoods, which an endpoint does not give"):
                harness.run(likelihoods, EndpointModel(endpoint, known), lambda _: None)


def test_a_harness_suite_is_judged_against_a_baseline(tiny_path: Path, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", ["other words"], layers=1)
    rows = [
        {"question": f"{number}?", "choices": [f"{number}", f"not {number}"], "answer": number % 2}
        for number in range(12)
    ]
    config = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "general", "uid": "u", "attempt": 1},
        "target": {"uri": f"file://{tiny_path}", "digest": "sha256:tiny"},
        "baseline": {"uri": f"file://{other}", "digest": "sha256:other"},
        "suites": [suite({"choice": choice_task(tmp_path, rows)}).to_json()],
        "gates": [{"metric": "general/choice/acc", "min": 0.0}, {"metric": "general/choice/f1", "min": 0.0}],
        "report": {"uri": f"file://{tmp_path}/report"},
    }
    result = evaluate(EvaluateRun.model_validate_json(json.dumps(config)), ProgressReporter(tmp_path / "progress.json"))
    assert result.results[0].metric == "general/choice/acc"
    metrics = {each.metric: each for each in result.results}
    assert metrics.keys() == {"general/choice/acc", "general/choice/acc_norm", "general/choice/acc_bytes"}
    accuracy = metrics["general/choice/acc"]
    assert (accuracy.n, accuracy.higher_is_better) == (12, True)
    assert accuracy.p_value is not None
    assert accuracy.ci95 is not None
    page = (tmp_path / "report/report.html").read_text()
    assert "general/choice/f1 was not measured" in page
    assert "Inconclusive" in page
    lines = (tmp_path / "report/samples/general.baseline.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["task"] == "choice"
    assert len(lines) == 12


def test_a_status_has_room_for_so_many_metrics(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith_runtime.evaluate.evaluating.MOST_RESULTS", 2)
    config = {
        "type": "evaluate",
        "run": {"kind": "EvalJob", "namespace": "default", "name": "general", "uid": "u", "attempt": 1},
        "target": {"uri": f"file://{tiny_path}", "digest": "sha256:tiny"},
        "suites": [suite({"choice": choice_task(tmp_path), "read": read_task(tmp_path)}).to_json()],
        "gates": [{"metric": "general/read/bits_per_byte", "max": 100.0}],
        "report": {"uri": f"file://{tmp_path}/report"},
    }
    result = evaluate(EvaluateRun.model_validate_json(json.dumps(config)), ProgressReporter(tmp_path / "progress.json"))
    assert [each.metric for each in result.results] == ["general/read/bits_per_byte", "general/choice/acc"]
    whole = json.loads((tmp_path / "report/results.json").read_text())
    assert (whole["verdict"], len(whole["results"])) == ("Passed", 6)
