"""Whatever is killed, at whatever moment: the job ends as if nothing had happened.

$CHAOS_ROUNDS says how many rounds, $CHAOS_SEED which; $CHAOS_RECORD is a file that each outcome is added to.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster.chaos.rounds import play, record
from tests.cluster.chaos.schedule import Round, schedule
from tests.cluster.cluster import Cluster, Namespace, Shelf
from tests.cluster.conftest import await_operator
from tests.tiny import make_tiny_model

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "6"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
ALL = [*schedule(ROUNDS, SEED)]


@pytest.fixture(scope="module")
def arena(operator: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Namespace, Shelf]]:
    """One namespace for all rounds, with a tiny model and data."""
    name = f"chaos-{uuid4().hex[:8]}"
    operator.kubectl("create", "namespace", name)
    namespace = Namespace(operator, name)
    for claim in ("data", "models"):
        namespace.claim(claim)
    shelf = namespace.shelf("data", "models")
    folder = tmp_path_factory.mktemp("chaos")
    rows = [(f"What is item {number}?", f"Item {number} is a part. " * (1 + number % 4)) for number in range(64)]
    make_tiny_model(folder / "models" / "base", [" ".join(row) for row in rows])
    (folder / "data").mkdir()
    with (folder / "data" / "train.jsonl").open("w") as file:
        for question, answer in rows:
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": messages}) + "\n")
    shelf.put(folder / "models", "models")
    shelf.put(folder / "data", "data")
    yield namespace, shelf
    operator.kubectl("delete", "namespace", name, "--wait=false")
    volumes = [f"{name}-{claim}" for claim in ("data", "models")]
    operator.kubectl("delete", "persistentvolume", *volumes, "--ignore-not-found", "--wait=false")


@pytest.mark.parametrize("this", ALL, ids=str)
def test_a_kill_changes_nothing(this: Round, operator: Cluster, arena: tuple[Namespace, Shelf]) -> None:
    await_operator(operator)
    path = os.environ.get("CHAOS_RECORD")
    record(play(this, *arena), Path(path) if path else None)
