"""The three resources, applied at once, on a cluster: what their user sees from the first moment to the last."""

import json

from tests.cluster.cluster import Cluster, Namespace, eventually
from tests.cluster.work import evaluation, job, server

ASK = """
import json, sys, urllib.request
body = json.dumps({"model": "bot", "messages": [{"role": "user", "content": "Hello"}]}).encode()
request = urllib.request.Request(sys.argv[1] + "/v1/chat/completions", body, {"Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(request, timeout=20))["choices"][0]["message"]["content"])
"""


def test_all_at_once_in_the_wrong_order(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(server(), evaluation(), job(wanted={"seconds": 10}))

    for kind in ("EvalJob", "ModelServe"):
        waiting = namespace.await_condition(kind, "bot", "Reconciling", "WaitingForFineTuneJob")
        assert waiting["message"] == "waits for FineTuneJob bot to succeed"
    eventually(lambda: namespace.status("FineTuneJob", "bot").get("progress", {}).get("step"), "step of the training")
    columns = namespace.kubectl("get", "finetunejobs")
    assert columns.split()[:8] == ["NAME", "PHASE", "PROGRESS", "STEP", "LOSS", "ETA", "ATTEMPT", "AGE"]

    namespace.kubectl("wait", "--for=condition=Succeeded", "ftj/bot", "--timeout=60s")
    namespace.kubectl("wait", "--for=condition=Passed", "evj/bot", "--timeout=60s")
    namespace.kubectl("wait", "--for=condition=Ready", "mserve/bot", "--timeout=60s")

    url = namespace.status("ModelServe", "bot")["url"]
    assert url == f"http://bot.{namespace.name}.svc:8000"
    assert namespace.shelf().run("python", "-c", ASK, url).strip() == "fine"

    listed = namespace.kubectl("get", "tunesmith")
    for seen in ("Succeeded", "100", "Passed", "facts/f1", "0.9", "Ready", url):
        assert seen in listed, listed


def test_describe_tells_the_story_in_events(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(wanted={"seconds": 1}), evaluation(), server())
    namespace.await_condition("ModelServe", "bot", "Ready")

    def reasons(kind: str) -> list[str]:
        events = json.loads(namespace.kubectl("get", "events", "-o", "json"))["items"]
        ours = [each for each in events if each["involvedObject"]["kind"] == kind]
        return [each["reason"] for each in sorted(ours, key=lambda each: each["firstTimestamp"])]

    eventually(lambda: "Serving" in reasons("ModelServe"), "event Serving")
    assert set(reasons("FineTuneJob")) >= {"Starting", "Completed"}
    assert set(reasons("EvalJob")) >= {"WaitingForFineTuneJob", "Starting", "GatesPassed"}
    assert set(reasons("ModelServe")) >= {"WaitingForFineTuneJob", "WaitingForEvalJob", "Starting", "Serving"}
    described = namespace.kubectl("describe", "ftj", "bot")
    assert "the model is published at s3://models/bot" in described


def test_a_gate_that_is_missed_keeps_the_server_down(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job(), evaluation(wanted={"f1": 0.25}), server())

    stalled = namespace.await_condition("ModelServe", "bot", "Stalled", "GateFailed")

    assert "facts/f1" in stalled["message"]
    assert "0.25" in stalled["message"]
    assert namespace.all("Deployment") == []
    assert namespace.status("EvalJob", "bot")["verdict"] == "Failed"


def test_nothing_is_written_when_nothing_changes(operator: Cluster, namespace: Namespace) -> None:
    namespace.apply(job())
    namespace.await_condition("FineTuneJob", "bot", "Succeeded")
    eventually(lambda: "Completed" in namespace.kubectl("get", "events"), "last event")
    before = namespace.get("FineTuneJob", "bot")

    namespace.kubectl("annotate", "ftj/bot", "seen=yes")
    eventually(lambda: (namespace.get("FineTuneJob", "bot") or {})["metadata"].get("annotations", {}).get("seen"), "it")
    namespace.apply(job("other"))
    namespace.await_condition("FineTuneJob", "other", "Succeeded")

    after = namespace.get("FineTuneJob", "bot")
    assert before is not None
    assert after is not None
    assert after["status"] == before["status"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
