"""The whole circle on a cluster: answers, feedback, training on it, evaluation, rollout, better answers."""

import json
from pathlib import Path

import pytest

from tests.builders import manifest
from tests.circle import ASK_AND_CORRECT, CORRECTIONS, LEARNING, RIGHT, heldout, serving
from tests.cluster.cluster import Cluster, Namespace, Shelf, eventually
from tests.tiny import make_tiny_model

MINUTES = 60


@pytest.fixture
def shelf(namespace: Namespace, tmp_path: Path) -> Shelf:
    """Claims with a tiny model that knows nothing, and with what an evaluation asks."""
    for claim in ("data", "models", "reports"):
        namespace.claim(claim)
    shelf = namespace.shelf("data", "models", "reports")
    texts = [f"{question} {answer} user assistant" for question, answer in CORRECTIONS.items()] * 4
    make_tiny_model(tmp_path / "models" / "base", texts)
    (tmp_path / "data").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in heldout())
    (tmp_path / "data" / "corrections.jsonl").write_text(lines)
    shelf.put(tmp_path / "models", "models")
    shelf.put(tmp_path / "data", "data")
    return shelf


def test_people_correct_the_model_and_it_learns(operator: Cluster, namespace: Namespace, shelf: Shelf) -> None:
    learning = manifest("FineTuneJob", "bot", LEARNING, namespace.name)
    namespace.apply(learning)
    waiting = namespace.await_condition("FineTuneJob", "bot", "Reconciling", "ReferenceNotFound")
    assert waiting["message"].startswith("waits for ModelServe bot, whose feedback it is to learn from")
    namespace.kubectl("delete", "ftj/bot")

    namespace.apply(manifest("ModelServe", "bot", serving({"uri": "pvc://models/base"}), namespace.name))
    namespace.await_condition("ModelServe", "bot", "Ready", seconds=3 * MINUTES)
    url = namespace.status("ModelServe", "bot")["url"]
    assert shelf.run("python", "-c", ASK_AND_CORRECT, url).strip() == "right: 0"
    eventually(lambda: len(_kept(shelf)) == len(CORRECTIONS), "feedback on the volume")

    namespace.apply(learning)
    namespace.kubectl("wait", "--for=condition=Succeeded", "ftj/bot", f"--timeout={4 * MINUTES}s", check=False)
    status = namespace.status("FineTuneJob", "bot")
    log = namespace.kubectl("logs", "job/bot-a1", "--tail=50", check=False)
    assert status.get("phase") == "Succeeded", f"{status.get('conditions')}\n{log}"

    namespace.apply(manifest("ModelServe", "bot", serving({"fineTuneJob": "bot"}), namespace.name))
    eventually(lambda: _promoted(namespace) == [2], "promoted revision", 5 * MINUTES)
    (evaluation,) = (each for each in namespace.all("EvalJob") if each["metadata"]["name"] == "bot-v2-s0")
    assert evaluation["status"]["verdict"] == "Passed"
    assert shelf.run("python", "-c", ASK_AND_CORRECT, url).strip() == RIGHT


def _kept(shelf: Shelf) -> list[str]:
    found = shelf.run("sh", "-c", "cat /volumes/data/traffic/feedback/*/*.jsonl 2>/dev/null || true")
    return found.splitlines()


def _promoted(namespace: Namespace) -> list[int]:
    revisions = namespace.status("ModelServe", "bot").get("revisions") or ()
    return [int(each["number"]) for each in revisions if each["state"] == "Promoted"]
