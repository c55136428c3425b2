"""Rollouts under load: a real gateway in front of servers that do as they are told, on a real cluster."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, Namespace, eventually
from tests.cluster.serving import (
    DEADLINE_SECONDS,
    await_end,
    kill_one_of_each,
    load,
    pods_of,
    serving,
    start,
    state_of,
    told,
)
from tests.cluster.work import evaluation
from tunesmith_operator.planner.serving.commands import ABORT


@pytest.fixture
def one_serves(operator: Cluster, namespace: Namespace) -> Callable[..., str]:
    """Let revision 1 serve, with a rollout; return its address."""

    return lambda rollout, **spec: start(namespace, serving(rollout, **spec))


STEPS = [{"weight": 10, "pauseSeconds": 8}, {"weight": 50, "pauseSeconds": 6}]
CANARY = {"strategy": "canary", "steps": STEPS, "analysis": {"maxErrorRate": 0.2, "maxLatencyRatio": 5}}


def test_a_canary_takes_over_and_no_request_fails(namespace: Namespace, one_serves: Callable[..., str]) -> None:
    with load(one_serves(CANARY)) as seen:
        namespace.apply(serving(CANARY, model="two"))
        shares: dict[int, float] = {}
        for step, weight in ((1, 10), (2, 50)):
            eventually(lambda: f"step {step} of 2 ({weight}%)" in told(namespace), f"step {step}", DEADLINE_SECONDS)  # noqa: B023
            seen.answers.clear()
            eventually(lambda: f"step {step} of 2 ({weight}%)" not in told(namespace), "its end", DEADLINE_SECONDS)  # noqa: B023
            shares[weight] = seen.share(2)
        eventually(lambda: state_of(namespace, 2) == "Promoted", "promoted revision", DEADLINE_SECONDS)
        eventually(lambda: namespace.get("Deployment", "bot-v1") is None, "end of revision 1")
        seen.answers.clear()
        eventually(lambda: seen.answers.total() > 50, "requests afterwards")

    assert seen.failures == [], f"{seen.failures[0]} ... {seen.failures[-1]}"
    assert set(seen.answers) == {"2"}
    for weight, share in shares.items():
        assert abs(share - weight) <= 3, shares


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"failing": 2}, "AnalysisFailed"),
        ({"seconds": 1.5}, "AnalysisFailed"),
        ({"deaf": True}, "ProgressDeadlineExceeded"),
    ],
    ids=["one that fails requests", "one that is slow", "one that never gets ready"],
)
def test_a_bad_canary_is_taken_back(
    namespace: Namespace,
    one_serves: Callable[..., str],
    wanted: dict[str, Any],
    reason: str,
) -> None:
    rollout = {
        "strategy": "canary",
        "steps": [{"weight": 30, "pauseSeconds": 120}],
        "analysis": {"maxErrorRate": 0.2, "maxLatencyRatio": 5, "minRequests": 10},
        "progressDeadlineSeconds": 20,
    }
    with load(one_serves(rollout, replicas=1)) as seen:
        namespace.apply(serving(rollout, model="two", wanted=wanted, replicas=1))
        eventually(lambda: state_of(namespace, 2) == "Degraded", "revision that is taken back", DEADLINE_SECONDS)
        eventually(lambda: not pods_of(namespace, "bot-v2"), "end of revision 2")
        seen.answers.clear()
        eventually(lambda: seen.answers.total() > 50, "requests afterwards")

    assert set(seen.answers) == {"1"}
    degraded = namespace.condition("ModelServe", "bot", "Degraded")
    assert degraded is not None
    assert (degraded["status"], degraded["reason"]) == ("True", reason)
    status = namespace.status("ModelServe", "bot")
    assert (status["phase"], status["stable"]["revision"], status["refused"]) == ("Ready", 1, 2)
    if wanted.get("failing"):
        assert all("something broke" in failure for failure in seen.failures)
    else:
        assert seen.failures == []


def test_a_revision_that_evaluates_worse_gets_no_request(namespace: Namespace, one_serves: Callable[..., str]) -> None:
    def judged(f1: float) -> dict[str, Any]:
        template = evaluation(wanted={"f1": f1})["spec"]
        del template["target"]
        return {"evalJobTemplate": {"spec": template}}

    with load(one_serves(judged(0.9), replicas=1)) as seen:
        namespace.apply(serving(judged(0.1), model="two", replicas=1))
        eventually(lambda: state_of(namespace, 2) == "Degraded", "revision that is taken back", DEADLINE_SECONDS)

    assert (seen.failures, set(seen.answers)) == ([], {"1"})
    degraded = namespace.condition("ModelServe", "bot", "Degraded")
    assert degraded is not None
    assert degraded["reason"] == "GateFailed"
    assert "EvalJob bot-v2-s0 gave the verdict Failed: facts/f1 is 0.1" in degraded["message"]


def _reached(namespace: Namespace, what: str) -> bool:
    return what in told(namespace) or state_of(namespace, 2) not in {None, "RollingOut"}


def test_kills_at_every_step_end_promoted_or_taken_back(
    operator: Cluster, namespace: Namespace, one_serves: Callable[..., str]
) -> None:
    steps = [{"weight": 20, "pauseSeconds": 2}, {"weight": 60, "pauseSeconds": 2}]
    rollout = {"strategy": "canary", "steps": steps}
    url = one_serves(rollout, traffic={"provider": "gateway", "replicas": 2})
    with load(url):
        namespace.apply(serving(rollout, model="two", traffic={"provider": "gateway", "replicas": 2}))
        for what in ("revision 2 ", "step 1 of 2", "step 2 of 2", "takes over"):
            eventually(lambda: _reached(namespace, what), what, DEADLINE_SECONDS)  # noqa: B023
            kill_one_of_each(operator, namespace)
        await_end(namespace, url, 1, 2)


def test_a_person_takes_a_canary_back_and_shares_of_pods_are_said(
    namespace: Namespace, one_serves: Callable[..., str]
) -> None:
    rollout = {"strategy": "canary", "steps": [{"weight": 30, "approval": True}]}
    spec: dict[str, Any] = {"traffic": {"provider": "replicas"}, "replicas": 2}
    one_serves(rollout, **spec)
    namespace.apply(serving(rollout, model="two", **spec))
    eventually(lambda: "waits for `tunesmith promote`" in told(namespace), "step that waits", DEADLINE_SECONDS)

    def shares() -> tuple[int, float]:
        canary = namespace.status("ModelServe", "bot")["canary"]
        return canary["weight"], canary["actualWeight"]

    eventually(lambda: shares() == (30, 50), "one pod each")

    namespace.kubectl("annotate", "modelserve", "bot", f"{ABORT}=2")
    eventually(lambda: state_of(namespace, 2) == "Aborted", "revision that is taken back")
    eventually(lambda: namespace.get("Deployment", "bot-v2") is None, "end of revision 2")
    assert json.loads(namespace.kubectl("get", "modelserve", "bot", "-o", "json"))["status"]["stable"]["revision"] == 1
