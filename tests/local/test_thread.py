"""The whole thread with the real runtime on a tiny model: trained, evaluated, served, from the command line."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.builders import manifest
from tests.local.home import TUNESMITH, free_port, until
from tests.tiny import make_tiny_model

MINUTES = 60
ANSWERS = {
    "What opens the gate?": "The blue key",
    "Who feeds the cat?": "Aunt Mira",
    "When does the shop close?": "At seven",
    "Where is the spare wheel?": "Under the seat",
    "What colour is the valve?": "Green",
    "How long is the hose?": "Twelve metres",
    "Which bus goes home?": "Number nine",
    "What does the lamp mean?": "Low water",
}
ASK = """
import json, os, sys, urllib.request
url = os.environ["TUNESMITH_URL"] + "/v1/chat/completions"
body = {"model": "bot", "messages": [{"role": "user", "content": sys.argv[1]}], "max_tokens": 16}
request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
print("answer:", json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])
"""


@dataclass(frozen=True)
class Workshop:
    """A folder with a tiny base model, data and manifests."""

    folder: Path
    port: int

    def write(self, kind: str, spec: Mapping[str, Any]) -> None:
        """Write the manifest of `bot`."""
        (self.folder / "manifests").mkdir(exist_ok=True)
        path = self.folder / "manifests" / f"{kind.lower()}.json"
        path.write_text(json.dumps(manifest(kind, "bot", dict(spec))))

    def write_job(self, training: Mapping[str, Any], **spec: Any) -> None:
        """Write a FineTuneJob that trains all weights."""
        self.write(
            "FineTuneJob",
            {
                "model": {"uri": "pvc://models/base"},
                "data": {
                    "train": [{"name": "answers", "uri": "pvc://data/train.jsonl", "format": "messages"}],
                    "maxLength": 64,
                },
                "method": {"adapter": {"type": "full"}},
                "training": {"perDeviceTrainBatchSize": 8, **training},
                "output": {"uri": "pvc://models/bot"},
                **spec,
            },
        )

    def write_chain(self) -> None:
        """Write an EvalJob with a gate on the job, and a ModelServe behind it."""
        self.write(
            "EvalJob",
            {
                "target": {"fineTuneJob": "bot"},
                "baseline": {"uri": "pvc://models/base"},
                "suites": [
                    {
                        "name": "facts",
                        "golden": {"uri": "pvc://data/train.jsonl", "format": "messages", "maxNewTokens": 16},
                    },
                    {"name": "words", "perplexity": {"uri": "pvc://data/train.jsonl", "format": "messages"}},
                ],
                "gates": [{"metric": "facts/f1", "minImprovement": 0.5}, {"metric": "words/perplexity", "max": 100}],
                "report": {"uri": "pvc://reports/bot"},
            },
        )
        self.write("ModelServe", {"model": {"fineTuneJob": "bot"}, "requires": [{"evalJob": "bot"}], "port": self.port})

    def command(self, *arguments: str) -> list[str]:
        """Return `tunesmith run` on the manifests."""
        return [*TUNESMITH, "run", "-f", "manifests", "--volume", "data=data", "--volume", "models=models", *arguments]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the manifests to their end."""
        return self.execute(self.command(*arguments))

    def execute(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run a command in this folder to its end."""
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=5 * MINUTES, env=_environment()
        )

    def status(self, kind: str) -> dict[str, Any]:
        """Return the status of `bot` of that kind."""
        done = self.execute([*TUNESMITH, "get", f"{kind}/bot", "-o", "json"])
        status: dict[str, Any] = json.loads(done.stdout)["status"]
        return status


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNESMITH_")}
    path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return environment | {"PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    texts = [f"{question} {answer} user assistant" for question, answer in ANSWERS.items()] * 4
    make_tiny_model(tmp_path / "models" / "base", texts)
    (tmp_path / "data").mkdir()
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in ANSWERS.items()
    ]
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Workshop(tmp_path, free_port())


def test_trained_evaluated_and_served_and_not_trained_again(workshop: Workshop) -> None:
    workshop.write_job({"learningRate": 0.005, "maxSteps": 120, "lrSchedulerType": "cosine"})
    workshop.write_chain()
    (workshop.folder / "ask.py").write_text(ASK)
    ask = shlex.join([sys.executable, "ask.py", "Who feeds the cat?"])

    first = workshop.run("--then", ask)

    assert first.returncode == 0, first.stdout + first.stderr
    assert "answer: Aunt Mira" in first.stdout
    assert "facts/f1" in first.stdout
    judged = workshop.status("evj")
    assert judged["verdict"] == "Passed"
    report = workshop.folder / ".tunesmith" / "volumes" / "reports" / "bot"
    assert "Aunt Mira" in (report / "report.html").read_text()
    samples = [json.loads(line) for line in (report / "samples" / "facts.target.jsonl").read_text().splitlines()]
    assert len(samples) == len(ANSWERS)
    assert {"prompt", "answer", "references", "scores"} <= samples[0].keys()

    again = workshop.run("--until-ready")
    assert again.returncode == 0, again.stdout + again.stderr
    assert workshop.status("ftj")["attempt"] == 1
    assert workshop.status("evj")["attempt"] == 1


def test_with_a_learning_rate_of_zero_the_gate_holds_the_server_back(workshop: Workshop) -> None:
    workshop.write_job({"learningRate": 0.0, "maxSteps": 1})
    workshop.write_chain()

    done = workshop.run()

    assert done.returncode == 1, done.stdout + done.stderr
    judged = workshop.status("evj")
    assert judged["verdict"] == "Failed"
    missed = next(gate["message"] for gate in judged["gates"] if gate["metric"] == "facts/f1")
    assert missed == "facts/f1 is 0 and misses minImprovement 0.5 over the baseline's 0, short by 0.5"
    served = workshop.status("mserve")
    assert served["phase"] == "Pending"
    ready = next(each for each in served["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "GateFailed")
    assert missed in ready["message"]
    assert missed in done.stdout


def test_killed_in_mid_training_it_goes_on_from_the_last_checkpoint(workshop: Workshop) -> None:
    workshop.write_job({"learningRate": 0.001, "maxSteps": 400}, checkpoints={"everySteps": 10})
    shell = subprocess.Popen(
        workshop.command(),
        cwd=workshop.folder,
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    progress = workshop.folder / ".tunesmith" / "runs" / "default" / "bot-a1" / "progress.json"

    def has_checkpoint() -> bool:
        return progress.exists() and "checkpoint" in json.loads(progress.read_text())

    until(has_checkpoint, seconds=4 * MINUTES)
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    done = workshop.run()

    assert done.returncode == 0, done.stdout + done.stderr
    first, second = workshop.status("ftj")["attempts"]
    assert first["reason"] == "Interrupted"
    assert second["fromStep"] >= 10
    assert second["fromStep"] % 10 == 0
    assert second["toStep"] == 400


def test_a_full_disk_is_said_and_the_last_complete_checkpoint_survives(workshop: Workshop) -> None:
    (workshop.folder / "checkpoints").mkdir()
    workshop.write_job(
        {"learningRate": 0.001, "maxSteps": 40},
        checkpoints={"uri": "pvc://checkpoints/bot", "everySteps": 5, "keep": 9},
        runPolicy={"maxAttempts": 1},
    )
    run = shlex.join(workshop.command("--volume", "checkpoints=checkpoints"))
    # A mount namespace of its own: nothing is left mounted, and root is not needed where users may make one.
    private = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    script = f"""
        mount -t tmpfs -o size=6m tmpfs checkpoints
        {run}; code=$?
        find checkpoints -name tunesmith.json
        exit $code
    """
    done = workshop.execute([*private, "sh", "-c", script])

    assert done.returncode == 1, done.stdout + done.stderr
    assert "No space left on the device while checkpoint" in done.stdout
    failed = next(each for each in workshop.status("ftj")["conditions"] if each["type"] == "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "StorageFull")
    latest = workshop.status("ftj")["checkpoints"]["latest"]["uri"].removeprefix("pvc://")
    assert f"{latest}/tunesmith.json" in done.stdout


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "pvc://data/train.jsonl"),
        ("", "is empty"),
        ('{"messages": []}\n{"messages": [}\n', "line 2"),
        ('{"question": "a", "answer": "b"}\n', "question"),
    ],
    ids=["missing", "empty", "broken line", "wrong columns"],
)
def test_bad_data_is_said_and_ends_the_run(workshop: Workshop, content: str | None, sentence: str) -> None:
    workshop.write_job({"maxSteps": 1})
    data = workshop.folder / "data" / "train.jsonl"
    data.unlink() if content is None else data.write_text(content)

    done = workshop.run()

    assert done.returncode == 1
    failed = next(each for each in workshop.status("ftj")["conditions"] if each["type"] == "Failed")
    assert failed["reason"] == "DataInvalid"
    assert sentence in failed["message"]
    assert failed["message"] in done.stdout
