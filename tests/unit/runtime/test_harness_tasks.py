"""Tasks come from lm-eval, from storage and from the spec; what cannot be used is told before a model loads."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.s3 import BUCKET, S3Server
from tunesmith_api.suites import EvalSuite, HarnessSuite
from tunesmith_runtime.errors import ConfigError, DataError, RunError
from tunesmith_runtime.evaluate.suites import harness

Config = dict[str, Any]
YAML = """
task: capitals
dataset_path: json
dataset_kwargs: {data_files: {test: capitals.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: answer
doc_to_choice: choices
"""


def questions(path: Path, count: int = 2) -> None:
    rows = [{"question": f"Country {number}?", "choices": ["Paris", "Rome"], "answer": 1} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a task, and its data beside it."""
    (tmp_path / "tasks/geography").mkdir(parents=True)
    (tmp_path / "tasks/geography/capitals.yaml").write_text(YAML)
    questions(tmp_path / "tasks/geography/capitals.jsonl")
    return tmp_path / "tasks"


def read(*tasks: str, inline: dict[str, Config] | None = None, **fields: Any) -> harness.LoadedTasks:
    given = [{"name": name, "config": config} for name, config in (inline or {}).items()]
    kind = HarnessSuite.model_validate_json(json.dumps({"tasks": tasks, "inlineTasks": given, **fields}))
    return harness.read(EvalSuite(name="general", harness=kind))


def refused(error: type[RunError], *tasks: str, **settings: Any) -> str:
    with pytest.raises(error) as raised:
        read(*tasks, **settings)
    assert not raised.value.retryable
    assert raised.value.message.startswith("suite general: ")
    return raised.value.message


def inline(path: Path, **settings: Any) -> Config:
    return {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_target": "answer",
        "doc_to_choice": "choices",
        **settings,
    }


def test_tasks_lie_in_a_folder_with_their_data_beside_them(folder: Path) -> None:
    assert read("capitals", taskUris=[f"file://{folder}"]).records == (("capitals", 0), ("capitals", 1))
    one = read("capitals", taskUris=[f"file://{folder}/geography/capitals.yaml"], limit=1)
    assert one.records == (("capitals", 0),)


def test_tasks_lie_in_a_bucket(s3: S3Server, folder: Path) -> None:
    s3.write({f"evals/{file.relative_to(folder)}": file.read_text() for file in folder.rglob("*.*")})
    assert len(read("capitals", taskUris=[f"s3://{BUCKET}/evals"]).records) == 2
    s3.write({"q.jsonl": (folder / "geography/capitals.jsonl").read_text()})
    task = inline(folder) | {"dataset_kwargs": {"data_files": {"test": f"s3://{BUCKET}/q.jsonl"}}}
    assert len(read("mine", inline={"mine": task}).records) == 2


def test_data_of_inline_tasks_is_named_by_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "claim").mkdir()
    questions(tmp_path / "claim/q.jsonl", 3)
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    task = inline(tmp_path / "nothing") | {"dataset_kwargs": {"data_files": {"test": ["pvc://claim/q.jsonl"]}}}
    assert len(read("mine", inline={"mine": task}).records) == 3


def test_a_task_builds_on_another(folder: Path, tmp_path: Path) -> None:
    (folder / "geography/short.yaml").write_text("include: capitals.yaml\ntask: short\ndescription: 'Answer. '\n")
    loaded = read(
        "short",
        "shorter",
        taskUris=[f"file://{folder}"],
        inline={"shorter": {"include": "capitals", "doc_to_text": "!"}},
    )
    first = {name: task.instances[0].arguments[0] for name, task in loaded.tasks.tasks.items()}
    assert first == {"short": "Answer. Country 0?", "shorter": "!"}


def test_a_packaged_task_reads_mirrored_data(tmp_path: Path) -> None:
    rows: list[Config] = [
        {
            "activity_label": "Cooking",
            "ctx_a": "She cuts.",
            "ctx_b": "then she",
            "endings": ["eats.", "flies."],
            "label": "0",
        }
    ]
    (tmp_path / "h.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 2))
    example = json.dumps(rows[0] | {"ctx_a": "He boils.", "label": "1"})
    (tmp_path / "t.jsonl").write_text(f"{example}\n" * 2)  # lm-eval draws one more than it needs
    data = {"data_files": {"train": f"file://{tmp_path}/t.jsonl", "validation": f"file://{tmp_path}/h.jsonl"}}
    mirrored: Config = {"include": "hellaswag", "dataset_path": "json", "dataset_kwargs": data}
    loaded = read("hellaswag", inline={"hellaswag": mirrored}, numFewshot=1)
    # What the packaged task's own Python makes of a row.
    asked = "Cooking: He boils. Then she flies.\n\nCooking: She cuts. Then she"
    assert loaded.tasks.tasks["hellaswag"].instances[0].arguments[0] == asked


def test_an_unknown_task_is_told_with_near_names(folder: Path) -> None:
    uris = [f"file://{folder}"]
    assert "there is no task, group or tag helaswag" in refused(ConfigError, "helaswag", taskUris=uris)
    assert "near are hellaswag" in refused(ConfigError, "helaswag")
    assert "capitals" in refused(ConfigError, "capital", taskUris=uris).rpartition("near are ")[2]
    included = {"mine": {"include": "hellaswagg"}}
    assert "task mine includes hellaswagg: there is no task" in refused(ConfigError, "mine", inline=included)


def test_a_task_that_runs_what_models_write_is_refused(tmp_path: Path) -> None:
    assert "task humaneval runs the programs that the model writes" in refused(ConfigError, "humaneval")
    unsafe = {"mine": inline(tmp_path / "q.jsonl", unsafe_code=True)}
    assert "task mine runs the programs that the model writes" in refused(ConfigError, "mine", inline=unsafe)


def test_python_of_a_task_is_refused_wherever_it_has_a_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "own.yaml").write_text(
        YAML.replace("capitals.jsonl", "geography/capitals.jsonl").replace("task: capitals", "task: own")
        + "process_docs: !function own.first\n"
    )
    (folder / "own.py").write_text("raise AssertionError('imported')\n")
    uris = [f"file://{folder}"]
    monkeypatch.setenv("TUNESMITH_ALLOW_CODE", "1")
    message = refused(ConfigError, "own", taskUris=uris)
    assert f"file://{folder}/own.yaml: !function in line 10 runs Python that the task brings" in message
    assert "set harness.runsCode, so that the suite is measured in a sandbox" in message
    assert "this process has a network" in refused(ConfigError, "own", taskUris=uris, runsCode=True)
    monkeypatch.delenv("TUNESMITH_ALLOW_CODE")
    assert "code is not allowed here" in refused(ConfigError, "own", taskUris=uris, runsCode=True)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"class": "os.system"}, "the field class runs Python"),
        ({"custom_dataset": "x"}, "the field custom_dataset runs Python"),
        ({"dataset_path": "pandas"}, "dataset_path pandas runs Python"),
        ({"metric_list": [{"metric": "acc", "hf_evaluate": True}]}, "metric acc with hf_evaluate runs Python"),
    ],
)
def test_other_ways_to_python_are_refused(tmp_path: Path, fields: Config, told: str) -> None:
    questions(tmp_path / "q.jsonl")
    task = inline(tmp_path / "q.jsonl", **fields)
    message = refused(ConfigError, "mine", inline={"mine": task})
    assert f"harness.inlineTasks[0] (mine): {told}" in message
    group = {"task": ["x", {"task": "mine", **task}]}
    assert told in refused(ConfigError, "some", inline={"some": group})


def test_templates_do_not_reach_python(tmp_path: Path) -> None:
    questions(tmp_path / "q.jsonl")
    task = inline(tmp_path / "q.jsonl", doc_to_text="{{ question.__class__.__mro__ }}")
    assert "SecurityError" in refused(DataError, "mine", inline={"mine": task})


def test_unusable_definitions_and_data_are_told(folder: Path, tmp_path: Path) -> None:
    questions(tmp_path / "q.jsonl")
    (tmp_path / "empty.jsonl").write_text("")

    def mine(error: type[RunError] = DataError, path: Path = tmp_path / "q.jsonl", **fields: Any) -> str:
        return refused(error, "mine", inline={"mine": inline(path, **fields)})

    assert "no such file or folder" in refused(DataError, "x", taskUris=[f"file://{tmp_path}/none"])
    (tmp_path / "bare").mkdir()
    assert "defines no task" in refused(DataError, "x", taskUris=[f"file://{tmp_path}/bare"])
    (tmp_path / "bare/bad.yaml").write_text("task: [")
    assert "bad.yaml: not YAML" in refused(DataError, "x", taskUris=[f"file://{tmp_path}/bare"])
    (tmp_path / "bare/bad.yaml").write_text("- task")
    assert "holds list, not fields of a task" in refused(DataError, "x", taskUris=[f"file://{tmp_path}/bare"])
    (tmp_path / "bare/bad.yaml").write_text("task: a\ninclude: bad.yaml")
    assert "includes itself" in refused(DataError, "x", taskUris=[f"file://{tmp_path}/bare"])
    assert "task mine cannot be loaded" in mine(path=tmp_path / "nowhere.jsonl")
    assert "task mine cannot be loaded" in mine(path=tmp_path / "empty.jsonl")
    (tmp_path / "none.csv").write_text("question,choices,answer\n")
    assert "task mine has no samples" in mine(path=tmp_path / "none.csv", dataset_path="csv")
    assert "task mine cannot be loaded: ValueError" in mine(output_type="poem")
    assert "lm-eval has no metric poetry of its own; there is acc" in mine(metric_list=[{"metric": "poetry"}])
    assert "its samples do not become questions" in mine(num_fewshot=90)
    assert "dataset_kwargs.data_files: 7 is neither a path nor a URI" in mine(dataset_kwargs={"data_files": 7})
    two = {"mine": inline(tmp_path / "q.jsonl"), "both": {"task": ["mine"]}}
    assert "task mine comes with mine and with both" in refused(ConfigError, "mine", "both", inline=two)


def test_a_packaged_task_without_a_network_is_told() -> None:
    message = refused(DataError, "winogrande")
    assert "task winogrande cannot be loaded" in message
    assert "Without a network, name a task whose dataset lies on storage" in message
