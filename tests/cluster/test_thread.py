"""The real runtime on a cluster: the quickstart on a tiny model, and training over two pods."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders import manifest
from tests.cluster.cluster import Cluster, Namespace, Object, Shelf, eventually
from tests.cluster.test_chain import ASK
from tests.tiny import make_tiny_model

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
MINUTES = 60
# Two workers add up their gradients in another order than one does. In float32 that shows in the sixth digit of the
# loss after twenty steps; averaging the workers' means instead of their tokens would show in the fourth.
TOLERANCE = 2e-5


@pytest.fixture
def shelf(namespace: Namespace, tmp_path: Path) -> Shelf:
    """Claims with a tiny model in the place of the quickstart's base model, and the quickstart's data."""
    for claim in ("data", "models", "reports"):
        namespace.claim(claim)
    shelf = namespace.shelf("data", "models", "reports")
    rows = [json.loads(line) for line in (QUICKSTART / "data" / "train.jsonl").read_text().splitlines()]
    texts = [message["content"] for row in rows for message in row["messages"]]
    make_tiny_model(tmp_path / "models" / "SmolLM2-135M-Instruct", texts, vocab_size=1024)
    shelf.put(tmp_path / "models", "models")
    shelf.put(QUICKSTART / "data", "data")
    return shelf


def quickstart() -> list[Object]:
    """Return the quickstart's manifests with settings that suit a tiny model, in the wrong order."""
    found: dict[str, Any] = {}
    for path in QUICKSTART.glob("*.yaml"):
        each = yaml.safe_load(path.read_text())
        found[each["kind"]] = each
    found["FineTuneJob"]["spec"]["method"]["adapter"] = {"type": "full"}
    found["FineTuneJob"]["spec"]["training"] |= {"learningRate": 5e-3, "numTrainEpochs": 10}
    spec = found["EvalJob"]["spec"]
    spec["suites"] = [{"name": "facts", "golden": {"uri": "pvc://data/heldout.jsonl", "format": "messages"}}]
    spec["gates"] = [{"metric": "facts/f1", "minImprovement": 0.02, "alpha": 1.0}]
    return [found["ModelServe"], found["EvalJob"], found["FineTuneJob"]]


def test_the_quickstart(operator: Cluster, namespace: Namespace, shelf: Shelf) -> None:
    namespace.apply(*quickstart())

    namespace.kubectl("wait", "--for=condition=Succeeded", "ftj/support-bot", f"--timeout={4 * MINUTES}s", check=False)
    assert namespace.status("FineTuneJob", "support-bot")["phase"] == "Succeeded", story(namespace)
    progress = namespace.status("FineTuneJob", "support-bot")["progress"]
    assert progress["step"] == progress["totalSteps"]
    namespace.await_condition("EvalJob", "support-bot-eval", "Passed", seconds=3 * MINUTES)
    namespace.await_condition("ModelServe", "support-bot", "Ready", seconds=3 * MINUTES)

    url = namespace.status("ModelServe", "support-bot")["url"]
    assert shelf.run("python", "-c", ASK.replace('"bot"', '"support-bot"'), url).strip()
    assert "report.html" in shelf.run("ls", "/volumes/reports/support-bot-eval")


def story(namespace: Namespace) -> str:
    """Return what people would look at when a job has not succeeded."""
    return namespace.kubectl("describe", "ftj", check=False) + namespace.kubectl(
        "logs", "job/support-bot-a1", "--tail=50", check=False
    )


def await_pods(namespace: Namespace, labels: str, count: int) -> None:
    """Wait until that many pods have been made."""
    eventually(lambda: len(namespace.all("Pod", labels)) == count, f"{count} pods with {labels}")


WAYS: dict[str, dict[str, Any]] = {
    "one worker": {"training": {"perDeviceTrainBatchSize": 8}},
    "DDP": {"workers": 2, "training": {"perDeviceTrainBatchSize": 4}},
    "ZeRO-2": {"workers": 2, "training": {"perDeviceTrainBatchSize": 4}, "deepspeed": {"zeroStage": 2}},
    "ZeRO-3": {"workers": 2, "training": {"perDeviceTrainBatchSize": 4}, "deepspeed": {"zeroStage": 3}},
}


def test_two_pods_train_as_one_does(operator: Cluster, namespace: Namespace, shelf: Shelf) -> None:
    losses = {}
    for way, spec in WAYS.items():
        name = way.lower().replace(" ", "-")
        training = {"maxSteps": 20, "learningRate": 1e-3, **spec["training"]}
        given = {
            "model": {"uri": "pvc://models/SmolLM2-135M-Instruct"},
            "data": {
                "train": [{"name": "answers", "uri": "pvc://data/train.jsonl", "format": "messages"}],
                "maxLength": 128,
            },
            "method": {"adapter": {"type": "full"}},
            "output": {"uri": f"pvc://models/{name}"},
            "runPolicy": {"maxAttempts": 1},
        }
        namespace.apply(manifest("FineTuneJob", name, given | spec | {"training": training}, namespace.name))
        if spec.get("workers"):
            await_pods(namespace, f"app.kubernetes.io/instance={name}-a1", 2)
        namespace.kubectl("wait", "--for=condition=Succeeded", f"ftj/{name}", f"--timeout={5 * MINUTES}s", check=False)
        status = namespace.status("FineTuneJob", name)
        log = namespace.kubectl("logs", f"job/{name}-a1", "--tail=60", check=False)
        assert status.get("phase") == "Succeeded", f"{way}: {status.get('conditions')}\n{log}"
        losses[way] = status["progress"]["loss"]

    alone = losses["one worker"]
    assert all(abs(loss - alone) <= TOLERANCE * alone for loss in losses.values()), losses
