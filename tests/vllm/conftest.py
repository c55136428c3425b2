"""A tiny model with an adapter, the pod that serves them, and that pod's server."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.tiny import TEXTS, make_tiny_model
from tests.unit.runtime.test_engine_adapters import lora, save
from tests.vllm.pods import ENVIRONMENT, Pod, Server, pod


@pytest.fixture(scope="session", autouse=True)
def _vllm() -> None:
    assert (ENVIRONMENT / "bin" / "vllm").exists(), f"there is no vLLM in {ENVIRONMENT}; make test-vllm installs one"


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a pod, with a claim `models` that has a model and an adapter."""
    folder = tmp_path_factory.mktemp("pod")
    models = folder / "volumes" / "models"
    # Attention on CPUs knows heads of 32, and of some larger sizes.
    make_tiny_model(models / "bot", TEXTS, hidden_size=128)
    save(models / "bot", models / "formal", lora(1), 1)
    return folder


@pytest.fixture(scope="session")
def serving_pod(volumes: Path) -> Pod:
    return pod(
        volumes,
        model={"uri": "pvc://models/bot"},
        adapters=[{"name": "formal", "uri": "pvc://models/formal"}],
        engine={
            "type": "vllm",
            "args": {"dtype": "float32", "maxModelLen": 512, "maxNumSeqs": 4, "enforceEager": True},
            "extraArgs": {"max-logprobs": "5", "enable-log-requests": "false"},
        },
        podTemplate={
            "image": "registry.example/vllm:0.32",
            "env": [
                {"name": "VLLM_CPU_KVCACHE_SPACE", "value": "1"},
                {"name": "VLLM_NO_USAGE_STATS", "value": "1"},
            ],
        },
    )


@pytest.fixture(scope="session")
def server(serving_pod: Pod) -> Iterator[Server]:
    """Start vLLM once for all tests: it takes a while."""
    serving_pod.fetch()
    with serving_pod.serve() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as found:
        yield found
