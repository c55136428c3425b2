"""Rollouts as their users see them: what gets requests, what is taken back, and what is said of it."""

from typing import Any

from tests.builders import model_serve
from tests.unit.planner.serving_world import GATEWAY, ServingWorld
from tunesmith_api import conditions as c
from tunesmith_api.contract import RunFailure
from tunesmith_operator.planner.serving.commands import ABORT, PAUSED, PROMOTE, UNDO

OLD, NEW = {"uri": "pvc://models/one"}, {"uri": "pvc://models/two"}
TEMPLATE = {
    "spec": {
        "suites": [{"name": "facts", "golden": {"uri": "pvc://data/facts.jsonl", "metrics": ["f1"]}}],
        "gates": [{"metric": "facts/f1", "min": 0.5, "minImprovement": 0}],
        "report": {"uri": "pvc://reports/bot"},
    }
}
CANARY = {"strategy": "canary", "steps": [{"weight": 10, "pauseSeconds": 300}, {"weight": 50, "pauseSeconds": 60}]}


def serving(rollout: dict[str, Any] | None = None, provider: str = "gateway", **spec: Any) -> ServingWorld:
    """Return a world in which revision 1 serves."""
    built = model_serve(
        **{"model": OLD, "replicas": 4, "rollout": rollout or {}, "traffic": {"provider": provider}, **spec}
    )
    world = ServingWorld(built)
    world.settle()
    return world


def states(world: ServingWorld) -> list[str]:
    return [each.state for each in world.status.revisions]


def test_the_first_revision_serves_as_soon_as_one_of_its_pods_answers() -> None:
    world = serving(CANARY)

    assert (world.status.phase, states(world)) == ("Ready", ["Promoted"])
    assert world.weights() == {1: 100}
    assert world.told().message == "revision 1 answers at http://support-bot.default.svc:8000"
    assert world.status.stable is not None
    assert (world.status.stable.ready_replicas, world.status.canary) == (4, None)


def test_a_first_revision_is_looked_at_again_only_while_its_pods_wait_for_a_gateway() -> None:
    world = ServingWorld(model_serve(model=OLD, traffic={"provider": "gateway"}))
    world.hindered, world.lagging = {1}, True
    world.settle()
    assert world.decide().requeue_after is None, "nothing but its pods can change that"

    world.hindered = set()
    world.settle()
    assert world.told().message == "revision 1 takes over: 1 of 1 pods answer"
    assert world.decide().requeue_after is not None


def test_a_canary_goes_from_step_to_step_and_takes_over() -> None:
    world = serving(CANARY)
    world.change(model=NEW)
    world.settle()
    assert world.weights() == {1: 90, 2: 10}
    assert world.told().message == "revision 2, step 1 of 2 (10%): until 12:05:00 UTC"
    assert {name: each.wanted for name, each in world.deployments.items()} == {
        "support-bot-v1": 4,
        "support-bot-v2": 1,
        GATEWAY: 1,
    }

    world.passes(300)
    world.settle()
    assert world.weights() == {1: 50, 2: 50}
    assert world.deployments["support-bot-v2"].wanted == 2
    world.sees(1, routed=51)
    world.sees(2, routed=49)
    world.settle()
    assert world.status.canary is not None
    assert (world.status.canary.weight, world.status.canary.actual_weight) == (50, 49.0)

    world.passes(60)
    world.settle()
    assert world.weights() == {2: 100}
    assert states(world) == ["Retired", "Promoted"]
    assert set(world.deployments) == {"support-bot-v2", GATEWAY}
    assert world.status.serving is not None
    assert (world.status.serving.uri, world.status.phase, world.status.rollout) == (NEW["uri"], "Ready", None)


def test_the_old_revision_stays_until_every_gateway_has_heard() -> None:
    world = serving()
    world.change(model=NEW)
    world.lagging = True
    world.settle()
    assert "support-bot-v1" in world.deployments
    assert world.weights() == {1: 100}

    world.lagging = False
    world.settle()
    assert set(world.deployments) == {"support-bot-v2", GATEWAY}


def test_a_canary_that_fails_requests_is_taken_back_at_once_and_not_tried_again() -> None:
    world = serving({**CANARY, "analysis": {"maxErrorRate": 0.05}})
    world.change(model=NEW)
    world.settle()
    world.sees(2, requests=40, errors=3, routed=40)
    world.settle()

    assert world.weights() == {1: 100}
    assert states(world) == ["Promoted", "Degraded"]
    assert set(world.deployments) == {"support-bot-v1", GATEWAY}
    assert (world.told(c.DEGRADED).status, world.told(c.DEGRADED).reason) == ("True", c.ANALYSIS_FAILED)
    assert "failed 3 of them (7.5%); maxErrorRate is 5.0%" in world.told().message
    assert (world.status.phase, world.told(c.READY).status) == ("Ready", "True")

    world.change(model=NEW, replicas=5)  # another spec, but the same revision
    world.passes(3600)
    world.settle()
    assert world.status.revision == 2
    world.change(model={"uri": "pvc://models/three"})
    world.settle()
    assert world.weights() == {1: 90, 3: 10}
    assert world.told(c.DEGRADED).status == "False"


def test_what_was_bad_is_tried_again_after_the_spec_was_good() -> None:
    world = serving({**CANARY, "analysis": {"maxErrorRate": 0.05}})
    world.change(model=NEW)
    world.settle()
    world.annotate(ABORT, "2")
    world.settle()
    assert states(world) == ["Promoted", "Aborted"]
    world.change(model=OLD)
    world.settle()
    assert (world.told(c.DEGRADED).status, world.status.phase) == ("False", "Ready")

    world.change(model=NEW)
    world.settle()
    assert world.weights() == {1: 90, 3: 10}


def test_a_slow_canary_is_taken_back() -> None:
    world = serving({**CANARY, "analysis": {"maxLatencyRatio": 2, "minRequests": 10}})
    world.change(model=NEW)
    world.settle()
    world.sees(1, requests=90, latency_p50_seconds=0.5)
    world.sees(2, requests=10, latency_p50_seconds=1.5, routed=10)
    world.settle()

    assert states(world) == ["Promoted", "Degraded"]
    assert "3.0 times what the revision that serves took; maxLatencyRatio is 2" in world.told().message


def test_a_step_waits_for_as_many_requests_as_it_takes_to_judge() -> None:
    world = serving({**CANARY, "analysis": {"maxErrorRate": 0.05}})
    world.change(model=NEW)
    world.settle()
    world.passes(3600)
    world.settle()
    assert world.told().message == "revision 2, step 1 of 2 (10%): waits for 20 more requests, to judge by them"
    world.sees(2, requests=20, routed=20)
    world.settle()
    assert world.weights() == {1: 50, 2: 50}


def test_a_canary_that_never_gets_ready_is_taken_back() -> None:
    world = serving({**CANARY, "progressDeadlineSeconds": 120})
    world.hindered.add(2)
    world.change(model=NEW)
    world.settle()
    world.deployments["support-bot-v2"].hindered = c.UNSCHEDULABLE
    world.settle()
    assert (world.told().reason, world.weights()) == (c.UNSCHEDULABLE, {1: 100})

    world.passes(120)
    world.settle()
    assert states(world) == ["Promoted", "Degraded"]
    assert world.told().reason == c.PROGRESS_DEADLINE_EXCEEDED
    assert "where there is room for one revision only, set rollout.strategy to recreate" in world.told().message


def test_a_canary_that_goes_down_gets_no_requests_and_is_taken_back() -> None:
    world = serving(CANARY)
    world.change(model=NEW)
    world.settle()
    world.deployments["support-bot-v2"].ready = 0
    world.hindered.add(2)
    world.settle()
    assert world.weights() == {1: 100}
    assert states(world) == ["Promoted", "RollingOut"]
    world.passes(60)
    world.settle()
    assert states(world) == ["Promoted", "Degraded"]


def test_a_canary_that_cannot_run_is_taken_back_with_its_own_words() -> None:
    world = serving(CANARY)
    world.hindered.add(2)
    world.change(model=NEW)
    world.settle()
    failure = RunFailure(reason=c.MODEL_INVALID, message="pvc://models/two: no model there", retryable=False)
    world.deployments["support-bot-v2"].failure = failure
    world.settle()
    assert (world.told().reason, states(world)) == (c.MODEL_INVALID, ["Promoted", "Degraded"])


def test_an_evaluation_comes_before_any_request_and_at_a_step() -> None:
    steps = [{"weight": 20, "evalJobTemplate": TEMPLATE}]
    world = serving({"strategy": "canary", "steps": steps, "evalJobTemplate": TEMPLATE})
    job = world.jobs["support-bot-v1-s0"]
    assert job.spec.target.endpoint is not None
    assert job.spec.target.endpoint.url == "http://support-bot-v1.default.svc:8000/v1"
    assert job.spec.baseline is None, "there is nothing to compare the first one with"
    assert [gate.compares for gate in job.spec.gates] == [False]
    assert (world.status.phase, world.weights()) == ("Progressing", {})
    world.judge("support-bot-v1-s0", "Passed")
    world.settle()
    assert world.weights() == {1: 100}

    world.change(model=NEW)
    world.settle()
    assert world.told().message == "revision 2, before it gets any request: waits for EvalJob support-bot-v2-s0"
    baseline = world.jobs["support-bot-v2-s0"].spec.baseline
    assert baseline is not None
    assert baseline.endpoint is not None
    assert baseline.endpoint.url == "http://support-bot-v1.default.svc:8000/v1"
    assert world.jobs["support-bot-v2-s0"].spec.report.uri == "pvc://reports/bot/support-bot-v2-s0"
    assert world.weights() == {1: 100}
    world.judge("support-bot-v2-s0", "Passed")
    world.settle()
    assert world.weights() == {1: 80, 2: 20}
    world.judge("support-bot-v2-s1", "Passed")
    world.settle()
    assert world.weights() == {2: 100}
    assert [each.verdict for each in world.status.revisions[-1].evaluations] == ["Passed", "Passed"]


def test_a_revision_that_evaluates_worse_gets_no_request() -> None:
    world = serving({"evalJobTemplate": TEMPLATE})
    world.judge("support-bot-v1-s0", "Passed")
    world.settle()
    world.change(model=NEW)
    world.settle()
    world.judge("support-bot-v2-s0", "Failed")
    world.settle()

    assert (states(world), world.weights()) == (["Promoted", "Degraded"], {1: 100})
    assert (world.told().reason, world.told().message) == (
        c.GATE_FAILED,
        "EvalJob support-bot-v2-s0 gave the verdict Failed; revision 1 serves, and nothing is tried again until the "
        "spec changes",
    )


def test_an_evaluation_without_a_verdict_is_repeated_as_often_as_it_may() -> None:
    world = serving({"evalJobTemplate": TEMPLATE, "maxInconclusive": 1})
    world.judge("support-bot-v1-s0", "Inconclusive")
    world.settle()
    world.judge("support-bot-v1-s0-2", "Passed")
    world.settle()
    assert states(world) == ["Promoted"]

    world.change(model=NEW)
    world.settle()
    world.judge("support-bot-v2-s0", "Inconclusive")
    world.settle()
    world.judge("support-bot-v2-s0-2", "Inconclusive")
    world.settle()
    assert (states(world), world.told().reason) == (["Promoted", "Degraded"], c.INCONCLUSIVE)


def test_a_first_revision_that_does_not_pass_serves_nothing() -> None:
    world = serving({"evalJobTemplate": TEMPLATE})
    world.judge("support-bot-v1-s0", "Failed")
    world.settle()

    assert (world.status.phase, states(world), world.weights()) == ("Failed", ["Degraded"], {})
    assert world.deployments == {}


def test_a_step_may_wait_for_a_person() -> None:
    world = serving({"strategy": "canary", "steps": [{"weight": 10, "approval": True}, {"weight": 50}]})
    world.change(model=NEW)
    world.settle()
    assert world.told().reason == c.WAITING_FOR_APPROVAL
    world.annotate(PROMOTE, "2/1")
    world.settle()
    assert states(world) == ["Retired", "Promoted"]


def test_people_pause_promote_and_undo() -> None:
    world = serving(CANARY)
    world.annotate(PAUSED, "true")
    world.change(model=NEW)
    world.settle()
    assert (world.told().reason, world.weights()) == (c.ROLLOUT_PAUSED, {1: 100})
    world.annotate(PAUSED, "")
    world.annotate(PROMOTE, "2")
    world.settle()
    assert (states(world), world.weights()) == (["Retired", "Promoted"], {2: 100})

    world.annotate(UNDO, "1@2")
    world.settle()
    assert world.weights() == {2: 90, 3: 10}
    assert world.status.revisions[-1].template.model.uri == OLD["uri"]
    world.change(model=NEW, replicas=5)  # whoever applies a spec anew wants that one
    world.settle()
    assert (states(world), world.weights()) == (["Retired", "Promoted", "Superseded"], {2: 100})


def test_a_change_on_the_way_supersedes() -> None:
    world = serving(CANARY)
    world.change(model=NEW)
    world.settle()
    world.change(model={"uri": "pvc://models/three"})
    world.settle()

    assert states(world) == ["Promoted", "Superseded", "RollingOut"]
    assert world.weights() == {1: 90, 3: 10}
    assert set(world.deployments) == {"support-bot-v1", "support-bot-v3", GATEWAY}


def test_blue_and_green_change_places_at_once() -> None:
    world = serving({"strategy": "blueGreen", "scaleDownDelaySeconds": 30})
    world.change(model=NEW)
    world.reconcile()
    assert world.deployments["support-bot-v2"].wanted == 4
    world.pods_start()
    world.reconcile()
    assert world.weights() == {1: 100}
    world.settle()
    assert world.weights() == {1: 0, 2: 100}
    assert world.deployments["support-bot-v1"].ready == 4, "the way back is quick"
    world.passes(30)
    world.settle()
    assert (states(world), set(world.deployments)) == (["Retired", "Promoted"], {"support-bot-v2", GATEWAY})


def test_rolling_goes_pod_by_pod_and_never_below_what_it_had() -> None:
    world = serving(provider="replicas")
    world.change(model=NEW)
    seen = []
    for _ in range(14):
        world.reconcile()
        pods = {name: each.ready for name, each in world.deployments.items()}
        seen.append(sum(pods.values()))
        assert sum(each.wanted for each in world.deployments.values()) <= 5
        world.pods_start()
    assert min(seen) >= 4
    assert (states(world), world.front) == (["Retired", "Promoted"], "support-bot-v2")


def test_shares_of_pods_are_said_as_they_are() -> None:
    world = serving({"strategy": "canary", "steps": [{"weight": 30, "pauseSeconds": 60}]}, provider="replicas")
    assert world.front == "support-bot-v1"
    world.change(model=NEW)
    world.settle()

    assert world.status.stable is not None
    assert world.status.canary is not None
    assert (world.status.canary.weight, world.status.canary.actual_weight) == (30, 50.0)
    assert (world.status.stable.replicas, world.status.canary.replicas) == (2, 2)
    assert world.front is None, "the Service is in front of both"


def test_recreate_stops_the_old_revision_first() -> None:
    world = serving({"strategy": "recreate"})
    world.change(model=NEW)
    assert world.reconcile().stop == (), "gateways still send requests there"
    world.gateways_hear()
    assert world.routes is not None
    assert [each.url for each in world.routes.upstreams] == [None], "requests wait"
    assert world.reconcile().stop == ("support-bot-v1",)
    assert "support-bot-v2" not in world.deployments
    world.settle()
    assert (states(world), world.weights()) == (["Retired", "Promoted"], {2: 100})


def test_recreate_goes_back_to_the_old_revision_when_the_new_one_does_not_come() -> None:
    world = serving({"strategy": "recreate", "progressDeadlineSeconds": 60})
    world.hindered.add(2)
    world.change(model=NEW)
    world.settle()
    world.passes(60)
    world.settle()

    assert (states(world), world.weights()) == (["Promoted", "Degraded"], {1: 100})
    assert world.deployments["support-bot-v1"].ready == 4


def test_no_more_revisions_are_remembered_than_asked_for() -> None:
    world = serving(revisionHistoryLimit=2)
    for number in range(5):
        world.change(model={"uri": f"pvc://models/number-{number}"})
        world.settle()
    assert [each.number for each in world.status.revisions] == [4, 5, 6]


def test_what_an_operator_without_revisions_served_goes_on() -> None:
    world = serving(provider="replicas")
    before = world.status.model_copy(update={"revisions": (), "stable": None})
    world.serve = world.serve.model_copy(update={"status": before})
    world.settle()

    assert (states(world), world.status.revision, set(world.deployments)) == (["Promoted"], 1, {"support-bot-v1"})


def test_pods_follow_the_load_up_at_once_and_down_after_a_while() -> None:
    world = serving(scaling={"minReplicas": 1, "maxReplicas": 3, "targetInFlight": 4, "scaleDownDelaySeconds": 60})
    assert world.deployments["support-bot-v1"].wanted == 1
    world.sees(1, in_flight=30)
    world.settle()
    assert world.deployments["support-bot-v1"].wanted == 3

    world.sees(1, in_flight=1)
    world.passes(30)
    world.settle()
    world.passes(59)
    world.settle()
    assert world.deployments["support-bot-v1"].wanted == 3
    world.passes(1)
    world.settle()
    assert world.deployments["support-bot-v1"].wanted == 1


def test_nobody_asks_and_no_pod_runs_until_somebody_does() -> None:
    world = serving(scaling={"minReplicas": 0, "maxReplicas": 2, "scaleDownDelaySeconds": 60})
    world.passes(61)
    world.settle()
    assert (world.deployments["support-bot-v1"].wanted, world.status.phase) == (0, "Ready")
    assert (world.told().reason, world.weights()) == (c.SCALED_TO_ZERO, {1: 100})
    assert world.routes is not None
    assert world.routes.upstreams[0].url is None, "requests are held"

    world.sees(1, waiting=1)
    world.settle()
    assert (world.deployments["support-bot-v1"].ready, world.told().reason) == (1, c.SERVING)
    assert world.routes.upstreams[0].url == "http://support-bot-v1.default.svc:8000"
