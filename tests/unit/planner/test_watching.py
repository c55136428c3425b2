"""What gateways watch becomes conditions, events and an evaluation, once per episode."""

from typing import Any

from tests.unit.planner.serving_world import ServingWorld
from tests.unit.planner.test_rollouts import OLD, serving
from tunesmith_api import conditions as c
from tunesmith_api.serving.watch import DriftReport, QualityReport, WatchReport
from tunesmith_operator.planner.references import named_by
from tunesmith_operator.storage import claims_of

TEMPLATE = {
    "spec": {
        "suites": [{"name": "facts", "golden": {"uri": "pvc://data/facts.jsonl", "metrics": ["f1"]}}],
        "gates": [{"metric": "facts/f1", "min": 0.5, "minImprovement": 0.1}],
        "report": {"uri": "pvc://reports/bot"},
    }
}
DRIFT = {"reference": {"uri": "pvc://data/train.jsonl"}, "threshold": 0.25}
JUDGE = {"url": "http://judge/v1", "model": "wise", "apiKeySecretRef": {"name": "judge", "key": "key"}}
WATCH = {"drift": DRIFT, "watcher": {"endpoint": JUDGE, "minScore": 0.6}, "evalJobTemplate": TEMPLATE}


def watching(**watch: Any) -> ServingWorld:
    world = serving(model=OLD, watch={**WATCH, **watch})
    world.settle()
    return world


def saw(drift: tuple[float, bool] | None = None, quality: tuple[float, int] | None = None) -> WatchReport:
    return WatchReport(
        drift=DriftReport(value=drift[0], drifted=drift[1], requests=500) if drift else None,
        quality=QualityReport(score=quality[0], answers=quality[1]) if quality else None,
    )


def told(world: ServingWorld, kind: str) -> tuple[str, str]:
    found = world.told(kind)
    return found.status, found.reason


def events(world: ServingWorld) -> list[tuple[str, str]]:
    return [(each.type, each.reason) for each in world.reconcile().events]


def test_before_there_is_enough_nothing_is_known() -> None:
    world = watching()
    assert told(world, c.DRIFTED) == told(world, c.QUALITY_LOW) == ("Unknown", c.WATCHING)
    world.watched = (WatchReport(problem="the judge cannot be reached"),)
    world.reconcile()
    assert told(world, c.QUALITY_LOW) == ("Unknown", c.WATCHING)
    assert (world.status.phase, world.jobs) == ("Ready", {})


def test_the_gateway_gets_what_it_watches_with_and_no_more() -> None:
    (gateway,) = (each for each in watching().decide().ensure if each.routes)
    assert gateway.routes is not None
    assert gateway.routes.watch is not None
    assert gateway.routes.watch.to_json().keys() == {"drift", "watcher"}
    assert [each.variable for each in gateway.keys] == ["TUNESMITH_KEY_JUDGE__KEY"]
    assert claims_of(gateway) == ("data",)


def test_a_window_that_differs_is_told_and_evaluated_once() -> None:
    world = watching()
    world.watched = (saw(drift=(0.1, False)), saw(drift=(0.4, True)))
    assert events(world) == [("Warning", c.INPUTS_DIFFER)]
    assert world.told(c.DRIFTED).message == (
        "psi of the last 500 requests against the reference is 0.4; the threshold is 0.25"
    )
    (job,) = world.jobs.values()
    assert (job.metadata.name, job.spec.report.uri) == ("support-bot-w1", "pvc://reports/bot/support-bot-w1")
    assert job.spec.target.endpoint is not None
    assert job.spec.target.endpoint.url == "http://support-bot-v1.default.svc:8000/v1"
    assert [(each.min, each.min_improvement) for each in job.spec.gates] == [(0.5, None)]
    assert "support-bot-w1" in {each.name for each in named_by(world.serve)}
    assert events(world) == []

    world.judge("support-bot-w1", "Failed")
    assert events(world) == [("Warning", c.GATE_FAILED)]
    assert world.status.watch is not None
    assert world.status.watch.evaluation is not None
    assert world.status.watch.evaluation.message == "EvalJob support-bot-w1 gave the verdict Failed"
    assert "support-bot-w1" not in {each.name for each in named_by(world.serve)}
    world.jobs.clear()
    world.settle()
    assert world.jobs == {}
    assert world.status.phase == "Ready"


def test_an_episode_lasts_until_nothing_is_amiss() -> None:
    world = watching()
    world.watched = (saw(drift=(0.4, True)),)
    world.settle()
    world.watched = (saw(drift=(0.4, True), quality=(0.2, 50)),)
    assert events(world) == [("Warning", c.SCORES_LOW)]
    world.watched = (saw(drift=(0.1, False), quality=(0.2, 50)),)
    assert events(world) == [("Normal", c.INPUTS_ALIKE)]
    assert set(world.jobs) == {"support-bot-w1"}
    world.watched = (saw(drift=(0.1, False), quality=(0.9, 50)),)
    assert events(world) == [("Normal", c.SCORES_FINE)]
    assert world.status.watch is not None
    assert (world.status.watch.episode, world.status.watch.since) == (1, None)

    world.watched = (saw(drift=(0.5, True), quality=(0.9, 50)),)
    world.settle()
    assert set(world.jobs) == {"support-bot-w1", "support-bot-w2"}


def test_scores_are_weighed_by_the_answers_of_each_gateway() -> None:
    world = watching()
    world.watched = (saw(quality=(0.9, 30)), saw(quality=(0.1, 10)))
    world.reconcile()
    assert told(world, c.QUALITY_LOW) == ("False", c.SCORES_FINE)
    assert world.told(c.QUALITY_LOW).message == (
        "the last 40 answers that were graded have the score 0.70 on average; minScore is 0.6"
    )
    assert world.status.watch is not None
    assert world.status.watch.quality == 0.7


def test_gateways_that_start_again_change_nothing() -> None:
    world = watching()
    world.watched = (saw(drift=(0.4, True)),)
    world.settle()
    world.watched = ()
    assert events(world) == []
    assert told(world, c.DRIFTED) == ("True", c.INPUTS_DIFFER)
    assert world.status.watch is not None
    assert world.status.watch.episode == 1


def test_the_evaluations_of_old_episodes_go() -> None:
    world = watching()
    for _ in range(7):
        world.watched = (saw(drift=(0.4, True)),)
        world.settle(2)
        world.watched = (saw(drift=(0.1, False)),)
        world.settle(2)
    assert set(world.jobs) == {f"support-bot-w{number}" for number in range(3, 8)}


def test_no_evaluation_goes_that_is_not_of_an_episode() -> None:
    world = watching(evalJobTemplate=None)
    retired: list[str] = []
    for _ in range(7):
        world.watched = (saw(drift=(0.4, True)),)
        retired += world.reconcile().retire
        world.watched = (saw(drift=(0.1, False)),)
        retired += world.reconcile().retire
    assert (retired, world.jobs) == ([], {})


def test_without_a_watch_there_is_nothing_to_tell() -> None:
    world = watching()
    world.watched = (saw(drift=(0.4, True)),)
    world.settle()
    world.change(watch=None)
    world.settle()
    assert world.status.watch is None
    assert {c.DRIFTED, c.QUALITY_LOW}.isdisjoint(each.type for each in world.status.conditions)
