"""Adapters of a ModelServe on a cluster: the real engine loads and unloads them as its pods run."""

from pathlib import Path
from typing import Any

import pytest
import requests

from tests.builders import manifest
from tests.cluster.cluster import Cluster, Namespace, eventually
from tests.cluster.serving import address, pods_of
from tests.tiny import make_tiny_model
from tests.unit.runtime.test_engine_adapters import lora, save

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
BROKEN = {"name": "broken", "uri": "pvc://models/none"}
# Pods start, and the kubelet brings a change to them about a minute later.
DEADLINE_SECONDS = 180


def named(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "uri": f"pvc://models/{name}"} for name in names]


def names_of_pods(namespace: Namespace) -> set[str]:
    pods = pods_of(namespace, "bot-v1")
    return {each["metadata"]["name"] for each in pods if not each["metadata"].get("deletionTimestamp")}


def loaded(namespace: Namespace) -> dict[str, int]:
    """Return how many pods have each adapter."""
    adapters = namespace.status("ModelServe", "bot").get("adapters") or ()
    return {each["name"]: each.get("readyReplicas", 0) for each in adapters}


def test_adapters_come_and_go_and_no_pod_is_replaced(operator: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    namespace.claim("models")
    shelf = namespace.shelf("models")
    base = make_tiny_model(tmp_path / "models" / "base", ["the sky is blue"] * 8)
    for seed, name in enumerate(("formal", "legal"), start=1):
        save(base, tmp_path / "models" / name, lora(seed), seed)
    shelf.put(tmp_path / "models", "models")
    spec: dict[str, Any] = {"model": {"uri": "pvc://models/base"}, "replicas": 2}

    def apply(*adapters: dict[str, str]) -> None:
        namespace.apply(manifest("ModelServe", "bot", {**spec, "adapters": list(adapters)}, namespace.name))

    def asked(model: str) -> requests.Response:
        body: dict[str, Any] = {"model": model, "prompt": "the sky", "max_tokens": 4}
        return requests.post(f"{address(namespace)}/v1/completions", json=body, timeout=30)

    apply(*named("formal"))
    eventually(lambda: loaded(namespace) == {"formal": 2}, "adapter on both pods", DEADLINE_SECONDS)
    namespace.await_condition("ModelServe", "bot", "AdaptersLoaded", seconds=30)
    pods = names_of_pods(namespace)
    assert asked("formal").status_code == 200

    apply(*named("legal"), BROKEN)
    eventually(lambda: loaded(namespace) == {"legal": 2, "broken": 0}, "another one in its place", DEADLINE_SECONDS)
    assert [asked(each).status_code for each in ("legal", "bot", "formal")] == [200, 200, 404]
    condition = namespace.condition("ModelServe", "bot", "AdaptersLoaded")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "AdapterRefused")
    assert "adapter broken cannot be loaded: pvc://models/none is no adapter" in condition["message"]
    assert names_of_pods(namespace) == pods
    assert namespace.status("ModelServe", "bot")["revision"] == 1

    namespace.kubectl("delete", "pod", sorted(pods)[0], "--force", "--grace-period=0")
    eventually(lambda: loaded(namespace)["legal"] == 1, "one pod less")
    eventually(lambda: loaded(namespace)["legal"] == 2, "adapter that is put back", DEADLINE_SECONDS)
    assert all(asked("legal").status_code == 200 for _ in range(10))
