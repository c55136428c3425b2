"""EvalJobs on a cluster: of a live server, by a schedule, and of each checkpoint of a job that trains."""

import json
from pathlib import Path

from tests.builders import manifest
from tests.cluster.cluster import STANDIN_IMAGE, Cluster, Namespace, Object, eventually
from tests.cluster.work import evaluation, job, server
from tests.tiny import make_tiny_model

SECRET = "sk-of-the-judge"
# A judge that answers every other request only, and wants a key.
JUDGE = """
import http.server, itertools, json, os

requests = itertools.count()

class Judge(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer " + os.environ["KEY"]:
            return self.answer(401, {"error": {"message": "who are you?"}})
        if next(requests) % 2 == 0:
            return self.answer(503, {"error": {"message": "I am busy"}})
        self.answer(200, {"choices": [{"message": {"role": "assistant", "content": "7"}}]})

    def answer(self, code, body):
        body = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Judge).serve_forever()
"""
QUESTIONS = ["How are you?", "Wie geht es dir?", "How are you?", "What is the weather like?"]


def test_a_live_server_is_asked_like_by_any_client(operator: Cluster, namespace: Namespace, tmp_path: Path) -> None:
    for claim in ("data", "reports"):
        namespace.claim(claim)
    shelf = namespace.shelf("data", "reports")
    # The stand-in says that it is fine, whatever it is asked.
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in zip(QUESTIONS, ["Fine.", "fine", "fine", "rainy"], strict=True)
    ]
    (tmp_path / "small-talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shelf.put(tmp_path, "data")
    golden = {"uri": "pvc://data/small-talk.jsonl", "format": "messages", "metrics": ["exactMatch", "f1"]}
    asked = {
        "target": {"modelServe": "bot"},
        "suites": [{"name": "talk", "golden": golden}],
        "gates": [{"metric": "talk/exactMatch", "min": 0.7, "max": 0.8}],
        "report": {"uri": "pvc://reports/live"},
    }
    # In the wrong order: it waits for the server, which waits for the model.
    namespace.apply(manifest("EvalJob", "live", asked, namespace.name))
    waits = namespace.await_condition("EvalJob", "live", "Reconciling", "ReferenceNotFound")
    assert "ModelServe bot" in waits["message"]
    namespace.apply(job(), server(gate=None))

    namespace.await_condition("EvalJob", "live", "Passed", seconds=180)

    status = namespace.status("EvalJob", "live")
    assert status["results"][0]["value"] == 0.75
    url = namespace.status("ModelServe", "bot")["url"]
    assert status["target"]["endpoint"]["url"] == f"{url}/v1"
    assert status["target"]["digest"] == "sha256:1", "the verdict is on this very model"
    samples = shelf.run("cat", "/volumes/reports/live/samples/talk.target.jsonl")
    assert [json.loads(line)["answer"] for line in samples.splitlines()] == ["fine"] * 4


def test_a_schedule_makes_runs_and_remembers_them(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(), evaluation("nightly", schedule="* * * * *"))

    def waits() -> bool:
        told = namespace.condition("EvalJob", "nightly", "Reconciling") or {}
        return (told.get("status"), told.get("reason")) == ("False", "WaitingForNextRun")

    eventually(waits, "wait for the next run")

    namespace.await_condition("EvalJob", "nightly", "Passed", seconds=120)

    status = namespace.status("EvalJob", "nightly")
    first = status["runs"][0]
    assert (first["name"], first["verdict"]) == ("nightly-r1", "Passed")
    assert first["metrics"] == [{"metric": "facts/f1", "value": 0.9}]
    assert first["report"] == "s3://reports/bot/nightly-r1/report.html"
    # What it has made goes with it.
    assert namespace.get("EvalJob", "nightly-r1") is not None
    namespace.kubectl("delete", "evj", "nightly")
    eventually(lambda: namespace.all("EvalJob") == [], "end of all runs")


def test_each_checkpoint_is_evaluated_while_the_job_trains(operator: Cluster, namespace: Namespace) -> None:
    each = {"fineTuneJob": "bot", "checkpoint": "each"}
    namespace.apply(evaluation("watch", target=each), job(wanted={"seconds": 30}))

    namespace.await_condition("EvalJob", "watch", "Succeeded", seconds=180)

    status = namespace.status("EvalJob", "watch")
    steps = [run["checkpoint"] for run in status["runs"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == 10
    assert len(steps) >= 2, "it does not wait for the end of training"
    assert status["verdict"] == "Passed"


def test_a_judge_that_errs_half_of_the_time_is_asked_again_or_leaves_the_verdict_open(
    operator: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    for claim in ("data", "reports"):
        namespace.claim(claim)
    shelf = namespace.shelf("data", "reports")
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in QUESTIONS))
    shelf.put(tmp_path, "data")
    namespace.apply(*judge(), job(), server(gate=None))
    namespace.await_condition("ModelServe", "bot", "Ready", seconds=120)
    namespace.kubectl("wait", "--for=condition=Ready", "pod/judge", "--timeout=60s")

    def asked(name: str, retries: int, key: str = "good") -> Object:
        endpoint = {
            "url": "http://judge:8000/v1",
            "model": "wise",
            "maxRetries": retries,
            "apiKeySecretRef": {"name": "judge", "key": key},
        }
        suite = {"uri": "pvc://data/questions.jsonl", "format": "text", "endpoint": endpoint}
        spec = {
            "target": {"modelServe": "bot"},
            "suites": [{"name": "talk", "judge": suite}],
            "gates": [{"metric": "talk/score", "min": 5}],
            "report": {"uri": f"pvc://reports/{name}"},
        }
        return manifest("EvalJob", name, spec, namespace.name)

    namespace.apply(asked("patient", retries=8), asked("hasty", retries=0), asked("stranger", retries=0, key="bad"))

    for name in ("patient", "hasty", "stranger"):
        namespace.await_condition("EvalJob", name, "Succeeded", seconds=180)
    patient = namespace.status("EvalJob", "patient")
    assert (patient["verdict"], patient["results"][0]["value"]) == ("Passed", 7)
    hasty = namespace.status("EvalJob", "hasty")
    assert hasty["verdict"] == "Inconclusive"
    assert "I am busy" in hasty["problems"][0]
    assert "talk/score was not measured" in hasty["gates"][0]["message"]
    stranger = namespace.status("EvalJob", "stranger")
    assert stranger["verdict"] == "Inconclusive"
    assert "check the key bad of Secret judge" in stranger["problems"][0]
    # No word of the key, in what is kept and in what is said.
    assert SECRET not in json.dumps([patient, hasty, stranger])
    assert SECRET not in shelf.run("sh", "-c", "cat /volumes/reports/*/results.json /volumes/reports/*-answers/*")


# All that a task's code finds and must not have.
CODE = """
import os, pathlib, socket


def found():
    if pathlib.Path("/var/run/secrets").exists():
        yield "token"
    yield from (name for name in ("good", "bad") if name in os.environ)
    for folder in ("/volumes/data", "/volumes/models/tiny", "/volumes/reports"):
        try:
            (pathlib.Path(folder) / "mine").write_text("")
            yield folder
        except OSError:
            pass
    try:
        socket.create_connection((os.environ["KUBERNETES_SERVICE_HOST"], 443), timeout=5)
        yield "network"
    except PermissionError:
        pass


def score(doc, results):
    print("found:", *found(), flush=True)
    return {"length": float(len(doc["question"])), "sealed": float(not list(found()))}
"""
TASK = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
test_split: test
output_type: generate_until
generation_kwargs: {until: ["."], max_gen_toks: 4}
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
process_results: !function own.score
metric_list:
- {metric: length, aggregation: mean, higher_is_better: true}
- {metric: sealed, aggregation: mean, higher_is_better: true}
"""


def test_suites_beside_each_other_and_code_without_a_network(
    operator: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    for claim in ("data", "models", "reports"):
        namespace.claim(claim)
    shelf = namespace.shelf("data", "models", "reports")
    data, models = tmp_path / "data", tmp_path / "models"
    (data / "tasks").mkdir(parents=True)
    (data / "facts.jsonl").write_text('{"prompt": "The sky is", "completion": "blue"}\n' * 2)
    files = {"sums.yaml": TASK, "own.py": CODE, "sums.jsonl": '{"question": "1+1=", "answer": "2"}\n' * 2}
    for name, text in files.items():
        (data / "tasks" / name).write_text(text)
    make_tiny_model(models / "tiny", ["The sky is blue, and 1+1=2."] * 8)
    shelf.put(data, "data")
    shelf.put(models, "models")
    golden = {"uri": "pvc://data/facts.jsonl", "metrics": ["f1"], "maxNewTokens": 4}
    code = {"tasks": ["sums"], "taskUris": ["pvc://data/tasks"], "runsCode": True}
    spec = {
        "target": {"uri": "pvc://models/tiny"},
        "suites": [
            {"name": "facts", "golden": golden},
            {"name": "prose", "perplexity": {"uri": "pvc://data/facts.jsonl", "format": "promptCompletion"}},
            {"name": "code", "harness": code},
        ],
        "gates": [{"metric": "code/sums/sealed", "min": 1}, {"metric": "facts/f1", "min": 0}],
        "parallelism": 2,
        "secretRefs": [{"name": "judge"}],
        "report": {"uri": "pvc://reports/apart"},
    }
    namespace.apply(*judge()[2:], manifest("EvalJob", "apart", spec, namespace.name))

    namespace.await_condition("EvalJob", "apart", "Passed", seconds=300)

    status = namespace.status("EvalJob", "apart")
    parts = {each["suite"]: [attempt["reason"] for attempt in each["attempts"]] for each in status["parts"]}
    assert parts == {"facts": ["Completed"], "prose": ["Completed"], "code": ["Completed"]}
    assert [each["workload"] for each in status["attempts"]] == ["apart-e1"]
    values = {each["metric"]: each["value"] for each in status["results"]}
    assert (values["code/sums/sealed"], values["code/sums/length"]) == (1, 4)
    # Wherever networks have policies, one would have kept it from the network as well.
    policy = namespace.get("NetworkPolicy", "apart-p3-1")
    assert policy is not None
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    (pod,) = namespace.all("Pod", "tunesmith.dev/sandbox=true")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert "serviceAccountToken" not in json.dumps(pod["spec"]["volumes"])
    assert namespace.get("ServiceAccount", "apart-p3-1") is None
    assert json.loads(shelf.run("cat", "/volumes/reports/apart/results.json"))["verdict"] == "Passed"


def judge() -> list[Object]:
    """Return the judge with its Service, and a Secret with its key and a wrong one."""
    container = {
        "name": "judge",
        "image": STANDIN_IMAGE,
        "command": ["python", "-c", JUDGE],
        "env": [{"name": "KEY", "value": SECRET}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    }
    meta = {"name": "judge", "labels": {"app": "judge"}}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    service = {"selector": {"app": "judge"}, "ports": [{"port": 8000}]}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "judge"}, "spec": service},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "judge"},
            "stringData": {"good": SECRET, "bad": "wrong"},
        },
    ]
