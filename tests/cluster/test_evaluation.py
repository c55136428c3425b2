"""EvalJobs on a cluster: of a live server, by a schedule, and of each checkpoint of a job that trains."""

import json
from pathlib import Path

from tests.builders import manifest
from tests.cluster.cluster import Cluster, Namespace, eventually
from tests.cluster.work import evaluation, job, server

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
