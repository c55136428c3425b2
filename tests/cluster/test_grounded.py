"""A gateway that answers from documents, runs a tool, keeps what it was asked, and watches it: all in one cluster."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.builders import manifest
from tests.cluster.cluster import STANDIN_IMAGE, Cluster, Namespace, Object, Shelf, eventually
from tests.cluster.conftest import fresh_namespace
from tests.cluster.serving import serving, start
from tests.tiny import make_tiny_bert

DOCUMENTS = {
    "hours.md": "# Opening hours\n\nThe workshop opens at nine and closes at seven.\n",
    "tubes.md": "# Prices\n\nA new tube costs six francs, and mending the old one four.\n",
}
QUESTION = "The workshop opens at nine and closes at seven, does it? Write to {}."
EXPECTED = [f"What does part number {number} of the gearbox cost this year?" for number in range(100)]
# So many requests are compared with those.
WINDOW = 50

# Says the weather to who has the token, and logs who has asked what.
WEATHER = """
import http.server
class Weather(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("x-token") == "open sesame"
        self.send_response(200 if known else 403)
        self.end_headers()
        self.wfile.write(b"It rains in Basel." if known else b"who are you?")
http.server.ThreadingHTTPServer(("", 8000), Weather).serve_forever()
"""
TOOL: dict[str, Any] = {
    "name": "weather",
    "description": "Tells the weather of a city, now.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "method": "GET",
    "headersSecretRef": {"name": "weather", "key": "headers"},
}


@dataclass(frozen=True)
class Served:
    """A ModelServe with all of that, and the claim that it reads and writes."""

    namespace: Namespace
    shelf: Shelf
    url: str

    def ask(self, question: str) -> requests.Response:
        asked: Any = {"model": "bot", "messages": [{"role": "user", "content": question}]}
        answer = requests.post(f"{self.url}/v1/chat/completions", json=asked, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer

    def kept(self) -> dict[str, Any]:
        """Return the requests on the claim, by their ids."""
        lines = self.shelf.run("sh", "-c", "cat /volumes/data/traffic/exchanges/*/*.jsonl 2>/dev/null || true")
        return {record["id"]: record for record in map(json.loads, lines.splitlines())}


@pytest.fixture(scope="module")
def served(operator: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    models, folder = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("data")
    make_tiny_bert(models / "encoder", list(DOCUMENTS.values()))
    (folder / "handbook").mkdir()
    for name, text in DOCUMENTS.items():
        Path(folder, "handbook", name).write_text(text)
    records = [{"messages": [{"role": "user", "content": each}, said("One franc.")]} for each in EXPECTED]
    (folder / "train.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    with fresh_namespace(operator) as namespace:
        for claim in ("data", "models"):
            namespace.claim(claim)
        shelf = namespace.shelf("data", "models")
        shelf.put(folder, "data")
        shelf.put(models, "models")
        namespace.apply(*weather(), encoder(namespace))
        yield Served(namespace, shelf, start(namespace, everything(namespace)))


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def encoder(namespace: Namespace) -> Object:
    """Return the ModelServe of what embeds, on the engine itself."""
    return manifest("ModelServe", "encoder", {"model": {"uri": "pvc://models/encoder"}}, namespace.name)


def everything(namespace: Namespace) -> Object:
    embeddings = {"url": f"http://encoder.{namespace.name}.svc:8000/v1", "model": "encoder"}
    documents = [{"uri": "pvc://data/handbook"}]
    return serving(
        {},
        wanted={"calls": {"city": "Basel"}},
        replicas=1,
        retrieval={"documents": documents, "embeddings": embeddings, "topK": 1, "onFailure": "refuse"},
        tools={"http": [{**TOOL, "url": f"http://weather.{namespace.name}.svc:8000/now"}]},
        capture={"uri": "pvc://data/traffic"},
        watch={"drift": {"reference": {"uri": "pvc://data/train.jsonl"}, "windowRequests": WINDOW}},
    )


def weather() -> list[Object]:
    """Return the tool with its Service, and a Secret with what it wants to be told."""
    container = {
        "name": "weather",
        "image": STANDIN_IMAGE,
        "command": ["python", "-uc", WEATHER],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    }
    meta = {"name": "weather", "labels": {"app": "weather"}}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    service = {"selector": {"app": "weather"}, "ports": [{"port": 8000}]}
    secret = {"metadata": {"name": "weather"}, "stringData": {"headers": "X-Token: open sesame"}}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "weather"}, "spec": service},
        {"apiVersion": "v1", "kind": "Secret", **secret},
    ]


def test_an_answer_cites_its_document_says_what_a_tool_said_and_is_kept(served: Served) -> None:
    def found() -> requests.Response | None:
        asked: Any = {"model": "bot", "messages": [{"role": "user", "content": "When?"}]}
        answer = requests.post(f"{served.url}/v1/chat/completions", json=asked, timeout=60)
        return answer if answer.status_code == 200 else None

    eventually(found, "index", 180)
    answer = served.ask(QUESTION.format("anna@example.org"))

    (citation,) = answer.json()["tunesmith"]["citations"]
    assert citation["document"] == "handbook/hours.md"
    assert "opens at nine" in citation["excerpt"]
    assert answer.headers["x-tunesmith-citations"] == "1=handbook/hours.md"
    assert answer.headers["x-tunesmith-tools"] == "weather"
    assert answer.json()["choices"][0]["message"]["content"] == "It rains in Basel."
    assert '"GET /now?city=Basel HTTP/1.1" 200' in served.namespace.kubectl("logs", "weather")

    record = eventually(lambda: served.kept().get(answer.headers["x-request-id"]), "captured request")
    asked = {"role": "user", "content": QUESTION.format("[EMAIL_ADDRESS]")}
    assert record["messages"] == [asked, said("It rains in Basel.")]
    assert (record["endpoint"], record["revision"], record["status"]) == ("/v1/chat/completions", 1, 200)
    assert served.shelf.run("ls", "/volumes/data/handbook-index").split()


def test_other_questions_than_expected_are_drift(served: Served) -> None:
    for number in range(WINDOW):
        served.ask(f"Wie alt wird ein Igel, wenn er {number} Winter lang gut schläft und genug Würmer findet?")

    drifted = served.namespace.await_condition("ModelServe", "bot", "Drifted", "InputsDiffer")
    assert f"of the last {WINDOW} requests" in drifted["message"]
    assert served.namespace.status("ModelServe", "bot")["watch"]["drift"] > 0.2
    metrics = requests.get(f"{served.url}/metrics", timeout=10).text.splitlines()
    (value,) = (line.split()[1] for line in metrics if line.startswith("tunesmith_gateway_drift "))
    assert float(value) > 0.2


def test_its_pods_are_restricted(served: Served) -> None:
    pods = served.namespace.all("Pod", "app.kubernetes.io/managed-by=tunesmith")
    assert {each["metadata"]["labels"]["app.kubernetes.io/name"] for each in pods} == {
        "tunesmith-gateway",
        "tunesmith-serve",
    }
    for pod in pods:
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
