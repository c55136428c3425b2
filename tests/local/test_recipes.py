"""The manifests in examples/: all are valid, and each recipe runs as written, but for its size."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import hub, warm
from tests.judge import judge_server
from tests.local import recipe_hub
from tests.local.home import Home, free_port
from tunesmith_api.base import API_VERSION
from tunesmith_api.judging import API_KEY_VARIABLE

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPES = sorted(path.name for path in (EXAMPLES / "recipes").iterdir())
MINUTES = 60
STEPS = 2


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def test_every_example_is_valid(home: Home) -> None:
    files = [file for file in EXAMPLES.rglob("*.yaml") if documents(file)[0]["apiVersion"] == API_VERSION]
    assert {file.parent.name for file in files} >= {"quickstart", *RECIPES}

    done = home.tunesmith("validate", "-f", *map(str, files))

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is valid") == sum(len(documents(file)) for file in files)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the command of a runtime whose Hub holds small stand-ins for what the recipes name."""
    folder = tmp_path_factory.mktemp("hub")
    with hub.serving() as server:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TUNESMITH_"))},
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(folder / "cache"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        address = str(folder / "runtime")
        with subprocess.Popen([sys.executable, "-m", "tests.warm", address], env=environment) as process:
            try:
                server.files = recipe_hub.datasets() | recipe_hub.models(folder / "models")
                yield warm.command(address)
            finally:
                process.kill()


@dataclass
class Workshop:
    """A folder in which a recipe is run, by the command line."""

    home: Home

    def put(self, uri: str, content: bytes) -> None:
        """Write a file of a claim."""
        path = self.home.folder / ".tunesmith" / "volumes" / uri.removeprefix("pvc://")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def run(self, recipe: str, *, small: bool = True, judge: str = "") -> dict[str, dict[str, Any]]:
        """Run a recipe to its end; return the status of each of its resources by kind and name.

        `judge` is the address of the judge.
        """
        target = self.home.folder / "manifests"
        target.mkdir()
        found: dict[str, dict[str, Any]] = {}
        for file in (EXAMPLES / "recipes" / recipe).glob("*.yaml"):
            for number, document in enumerate(documents(file)):
                if small:
                    scale_down(document)
                if judge:
                    document["spec"]["data"]["judge"]["url"] = judge
                (target / f"{file.stem}-{number}.json").write_text(json.dumps(document))
                found[f"{document['kind']}/{document['metadata']['name']}"] = {}
        shell = self.home.start()
        output, _ = shell.communicate(timeout=5 * MINUTES)
        self.output = output
        return {name: self.home.status(name) for name in found}

    def published(self, uri: str) -> Path:
        """Return the folder of a published model."""
        return self.home.folder / ".tunesmith" / "volumes" / uri.removeprefix("pvc://")


def scale_down(document: dict[str, Any]) -> None:
    """Make a manifest fit a machine without a GPU; all that is not about size stays as written."""
    spec = document["spec"]
    spec.get("resources", {}).pop("gpu", None)
    if document["kind"] != "FineTuneJob":
        return
    spec["training"]["maxSteps"] = STEPS
    spec["method"]["adapter"].pop("loadIn4bit", None)
    if "ppo" in spec["method"]:
        spec["method"]["ppo"]["maxCompletionLength"] = 8


@pytest.fixture
def workshop(tmp_path: Path, runtime: str) -> Iterator[Workshop]:
    home = Home(tmp_path, free_port(), runtime)
    yield Workshop(home)
    for shell in home.started:
        if shell.poll() is None:
            shell.kill()
            shell.communicate()


def succeeded(statuses: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    status = statuses[name]
    assert status["phase"] == "Succeeded", status["conditions"]
    return status


def trained(statuses: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the status of a FineTuneJob that has trained and published."""
    status = succeeded(statuses, f"FineTuneJob/{name}")
    assert status["progress"]["step"] == STEPS
    return status


def test_dolly(workshop: Workshop) -> None:
    workshop.put("pvc://evals/dolly.jsonl", recipe_hub.jsonl(recipe_hub.dolly_rows(3)))
    statuses = workshop.run("dolly")

    data = trained(statuses, "dolly")["data"]
    assert data["dropped"]["contaminated"] == 3
    assert (data["records"], data["validationRecords"]) == (36, 1)
    results = succeeded(statuses, "EvalJob/dolly-eval")["results"]
    assert {each["metric"] for each in results} >= {"instructions/rougeL", "answers/perplexity"}
    assert all("baseline" in each for each in results)


def test_alpaca_lora(workshop: Workshop) -> None:
    status = trained(workshop.run("alpaca-lora"), "alpaca-lora")

    assert status["data"]["dropped"]["duplicates"] == 1
    adapter = json.loads((workshop.published("pvc://models/alpaca-lora") / "adapter/adapter_config.json").read_text())
    assert sorted(adapter["target_modules"]) == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert status["output"]["adapter"]


def test_guanaco_qlora(workshop: Workshop) -> None:
    status = trained(workshop.run("guanaco-qlora"), "guanaco-qlora")

    assert status["data"]["truncated"] == 2  # one of them for validation
    assert status["data"]["validationRecords"] == 4


def test_guanaco_qlora_as_written_needs_a_gpu(workshop: Workshop) -> None:
    status = workshop.run("guanaco-qlora", small=False)["FineTuneJob/guanaco-qlora"]

    assert status["phase"] == "Failed"
    assert "spec.method.adapter.loadIn4bit: needs a CUDA GPU, and there is none" in workshop.output
    assert status["attempt"] == 1


def test_squad_roberta(workshop: Workshop) -> None:
    status = trained(workshop.run("squad-roberta"), "squad-roberta")

    assert status["data"]["records"] == 24
    config = json.loads((workshop.published("pvc://models/squad-roberta") / "config.json").read_text())
    assert config["architectures"] == ["RobertaForQuestionAnswering"]


def test_t5_summarisation(workshop: Workshop) -> None:
    status = trained(workshop.run("t5-summarisation"), "t5-summarisation")

    assert status["data"]["validationRecords"] == 4
    config = json.loads((workshop.published("pvc://models/t5-summarisation") / "config.json").read_text())
    assert config["architectures"] == ["T5ForConditionalGeneration"]


def test_pretraining_mix(workshop: Workshop) -> None:
    workshop.put("pvc://corpus/field/1999/spring.jsonl", recipe_hub.jsonl(recipe_hub.field_rows()))
    workshop.put("pvc://evals/field.jsonl", recipe_hub.jsonl(recipe_hub.text_rows("held out")))
    workshop.put("pvc://evals/general.jsonl", recipe_hub.jsonl(recipe_hub.text_rows("general")))
    statuses = workshop.run("pretraining-mix")

    shares = {each["name"]: each["share"] for each in trained(statuses, "field-reader")["data"]["datasets"]}
    assert shares == pytest.approx({"field": 0.3, "general": 0.6, "instructions": 0.1}, abs=0.02)
    results = {each["metric"]: each for each in succeeded(statuses, "EvalJob/field-reader-eval")["results"]}
    assert {"field/perplexity", "general/perplexity"} <= results.keys()


def test_reward_model_ppo(workshop: Workshop) -> None:
    workshop.put("pvc://evals/general.jsonl", recipe_hub.jsonl(recipe_hub.text_rows("general")))
    statuses = workshop.run("reward-model-ppo")

    trained(statuses, "helpfulness")
    trained(statuses, "helpful-bot")
    config = json.loads((workshop.published("pvc://models/helpfulness") / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForSequenceClassification"]
    succeeded(statuses, "EvalJob/helpful-bot-eval")
    log = workshop.home.log("helpful-bot-a1")
    assert all(f" {name}=" in log for name in ("reward", "kl", "entropy", "completions/clipped_ratio"))


def test_ai_feedback(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.put("pvc://pairs/answers.jsonl", recipe_hub.jsonl(recipe_hub.pair_rows()))
    monkeypatch.setenv(API_KEY_VARIABLE, "secret")
    with judge_server() as judge:
        status = trained(workshop.run("ai-feedback", judge=judge.url), "tutor")

    data = status["data"]
    assert (data["judged"], data["dropped"]["undecided"]) == (40, 4)
    assert (data["records"], data["validationRecords"]) == (34, 2)
    assert judge.keys == {"Bearer secret"}
    assert all("a pupil of twelve" in question for question in judge.questions)
