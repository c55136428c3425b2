"""What runPolicy means for the pods of an attempt: how long they may take to end, and which nodes they avoid."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.builders import eval_job, fine_tune_job
from tunesmith_api.resources import Resource
from tunesmith_operator.backends.native import Settings, render
from tunesmith_operator.planner import Observed, Workload, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def attempt(resource: Resource) -> Workload:
    (workload,) = plan(resource, Observed(), NOW).ensure
    return workload


def pods(workload: Workload) -> list[dict[str, Any]]:
    objects = render(workload, Settings(image="registry.test/runtime:1"))
    return [each["spec"]["template"]["spec"] for each in objects if each["kind"] in {"Job", "StatefulSet"}]


def test_all_pods_of_training_have_time_for_a_checkpoint() -> None:
    workload = attempt(fine_tune_job(workers=2, runPolicy={"gracePeriodSeconds": 300}))
    assert [pod["terminationGracePeriodSeconds"] for pod in pods(workload)] == [300, 300]


def test_an_evaluation_has_nothing_to_save() -> None:
    (pod,) = pods(attempt(eval_job(target={"uri": "pvc://models/x"})))
    assert pod["terminationGracePeriodSeconds"] == 15


def test_nodes_are_kept_away_from_where_there_are_others() -> None:
    workload = replace(attempt(fine_tune_job()), avoid_nodes=("node-a", "node-b"))
    (pod,) = pods(workload)
    (preference,) = pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preference["preference"]["matchExpressions"] == [
        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node-a", "node-b"]}
    ]


def test_what_the_spec_says_of_nodes_stays() -> None:
    mine = {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}}
    wanted: dict[str, Any] = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]},
            "preferredDuringSchedulingIgnoredDuringExecution": [mine],
        },
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []},
    }
    workload = attempt(fine_tune_job(podTemplate={"affinity": wanted}))
    assert pods(workload)[0]["affinity"] == wanted

    (pod,) = pods(replace(workload, avoid_nodes=("node-a",)))
    assert pod["affinity"]["podAntiAffinity"] == wanted["podAntiAffinity"]
    node = pod["affinity"]["nodeAffinity"]
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    assert node[required] == wanted["nodeAffinity"][required]
    assert node["preferredDuringSchedulingIgnoredDuringExecution"][0] == mine
    assert len(node["preferredDuringSchedulingIgnoredDuringExecution"]) == 2
