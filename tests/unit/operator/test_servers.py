"""Pods of servers: what is fetched before, and what runs where the engine is not ours."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.builders import model_serve
from tunesmith_api.contract import AdapterSet, ServedAdapter
from tunesmith_operator.backends.native import RenderError, Settings, render
from tunesmith_operator.planner import Observed, plan

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REMOTE = {"uri": "hf://org/model@main"}


def pod(**spec: Any) -> dict[str, Any]:
    """Return the pod spec of a ModelServe's first revision."""
    serve = model_serve(**{"model": REMOTE, **spec})
    (workload,) = plan(serve, Observed(address="http://support-bot.default.svc:8000"), NOW).ensure
    *_, deployment = render(workload, Settings(image="registry.test/runtime:1"))
    return dict(deployment["spec"]["template"]["spec"])


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container["env"]}


def mounted(container: dict[str, Any]) -> list[str]:
    return [each["mountPath"] for each in container["volumeMounts"]]


def test_the_built_in_engine_fetches_for_itself() -> None:
    found = pod()
    assert "initContainers" not in found
    assert "TUNESMITH_MODEL_CACHE" not in variables(found["containers"][0])


def test_a_claim_keeps_what_the_first_pod_downloads() -> None:
    found = pod(modelCache={"claimName": "models"})
    (fetch,), (engine,) = found["initContainers"], found["containers"]

    assert fetch["command"] == ["python", "-m", "tunesmith_runtime", "fetch"]
    assert variables(fetch)["TUNESMITH_MODEL_CACHE"] == variables(engine)["TUNESMITH_MODEL_CACHE"] == "/models-cache"
    mounts = [next(each for each in one["volumeMounts"] if each["name"] == "model-cache") for one in (fetch, engine)]
    assert [mount["readOnly"] for mount in mounts] == [False, True]
    assert "startupProbe" not in fetch

    on_a_volume = pod(model={"uri": "pvc://models/bot"}, modelCache={"claimName": "models"})
    assert "initContainers" not in on_a_volume, "it is there already"


def adapted(*names: str, engine: str = "transformers") -> list[dict[str, Any]]:
    """Return the objects of a revision that was made without adapters and has some by now."""
    serve = model_serve(model=REMOTE, engine={"type": engine}, podTemplate={"image": "registry.test/engine:1"})
    (workload,) = plan(serve, Observed(address="http://support-bot.default.svc:8000"), NOW).ensure
    if workload.adapters is not None:
        named = tuple(ServedAdapter(name=name, uri=f"s3://models/{name}") for name in names)
        workload = replace(workload, adapters=AdapterSet(generation=7, adapters=named))
    return [dict(each) for each in render(workload, Settings(image="registry.test/runtime:1"))]


def test_the_built_in_engine_is_told_of_its_adapters_as_it_runs() -> None:
    before, after = adapted("legal"), adapted("legal", "formal")
    (told,) = [each for each in after if each["metadata"]["name"] == "support-bot-v1-adapters"]
    assert [each["name"] for each in json.loads(told["data"]["adapters.json"])["adapters"]] == ["legal", "formal"]
    container = after[-1]["spec"]["template"]["spec"]["containers"][0]
    folder = variables(container)["TUNESMITH_ADAPTERS"].removesuffix("/adapters.json")
    assert {"name": "adapters", "mountPath": folder, "readOnly": True} in container["volumeMounts"]
    assert before[-1]["spec"] == after[-1]["spec"], "no pod is replaced"
    assert before[-1]["metadata"]["annotations"] != after[-1]["metadata"]["annotations"], "but all is applied"
    assert not [each for each in adapted(engine="vllm") if each["metadata"]["name"].endswith("-adapters")]


def test_each_pod_of_a_server_reports_under_a_key_of_its_own() -> None:
    assert variables(pod()["containers"][0])["TUNESMITH_PROGRESS_KEY"] == "$(POD_NAME).json"


def test_vllm_serves_what_was_fetched() -> None:
    found = pod(
        engine={"type": "vllm", "args": {"maxModelLen": 4096}},
        adapters=[{"name": "legal", "uri": "pvc://models/legal"}],
        podTemplate={"image": "registry.test/vllm:1"},
        resources={"gpu": 2},
        secretRefs=[{"name": "hub-token"}],
    )
    (fetch,), (server,) = found["initContainers"], found["containers"]

    assert server["image"] == "registry.test/vllm:1"
    assert server["command"][:4] == ["vllm", "serve", "/tmp/served/model", "--served-model-name=support-bot"]
    assert "--max-model-len=4096" in server["command"]
    assert '{"name":"legal","path":"/tmp/served/adapters/legal"}' in server["command"]
    assert server["readinessProbe"]["httpGet"] == {"path": "/health", "port": "http"}
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "envFrom" not in server, "it needs no keys to storage"
    assert fetch["image"] == "registry.test/runtime:1"
    assert fetch["envFrom"] == [{"secretRef": {"name": "hub-token"}}]
    assert variables(fetch)["TUNESMITH_MODEL_LINKS"] == "/tmp/served"
    assert variables(server)["VLLM_NO_USAGE_STATS"] == "1"
    assert "nvidia.com/gpu" not in fetch["resources"]["limits"]


def test_vllm_finishes_its_answers_before_the_pod_is_killed() -> None:
    found = pod(engine={"type": "vllm"}, podTemplate={"image": "registry.test/vllm:1"})
    (server,) = found["containers"]
    (seconds,) = (int(word.partition("=")[2]) for word in server["command"] if word.startswith("--shutdown-timeout="))
    (_, waits) = server["lifecycle"]["preStop"]["exec"]["command"]
    assert 30 < seconds < found["terminationGracePeriodSeconds"] - int(waits)


def test_processes_of_a_server_share_memory() -> None:
    engine = {"engine": {"type": "vllm"}}
    found = pod(**engine, podTemplate={"image": "registry.test/vllm:1"})
    assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in found["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in found["containers"][0]["volumeMounts"]
    assert "/dev/shm" not in mounted(pod()["containers"][0])

    own = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}
    template = {
        "image": "registry.test/vllm:1",
        "volumes": [own],
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }
    given = pod(**engine, podTemplate=template)
    assert [each for each in given["volumes"] if each["name"] == "shm"] == [own]
    assert mounted(given["containers"][0]).count("/dev/shm") == 1


def test_vllm_without_an_image_is_refused() -> None:
    with pytest.raises(RenderError, match=r"name it in spec\.podTemplate\.image"):
        pod(engine={"type": "vllm"})


def test_a_server_of_one_s_own_finds_model_and_port() -> None:
    custom = {
        "image": "registry.test/own:1",
        "args": ["--port", "$(TUNESMITH_PORT)"],
        "port": 9000,
        "healthPath": "/up",
    }
    (server,) = pod(engine={"type": "custom", "custom": custom})["containers"]

    assert (server["image"], server["args"]) == ("registry.test/own:1", ["--port", "$(TUNESMITH_PORT)"])
    assert "command" not in server, "the image's own entrypoint"
    assert variables(server)["TUNESMITH_MODEL"] == "/tmp/served/model"
    assert variables(server)["TUNESMITH_MODEL_NAME"] == "support-bot"
    assert server["ports"] == [{"name": "http", "containerPort": 9000, "protocol": "TCP"}]
    assert server["readinessProbe"]["httpGet"]["path"] == "/up"


def test_pods_of_a_revision_keep_apart_where_they_can() -> None:
    (rule,) = pod()["topologySpreadConstraints"]
    assert (rule["topologyKey"], rule["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
