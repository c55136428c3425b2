"""Adapters of a ModelServe as they come and go: in the engines that run, or by a revision."""

from typing import Any

from tests.builders import eval_job, model_serve
from tests.unit.planner.serving_world import ServingWorld
from tunesmith_api import conditions as c
from tunesmith_api.evaljob import EvalJobStatus, Subject
from tunesmith_operator.planner.serving.commands import ABORT, UNDO

V1 = "support-bot-v1"
LEGAL = {"name": "legal", "uri": "pvc://models/legal"}
FORMAL = {"name": "formal", "uri": "s3://models/formal"}
VLLM = {"engine": {"type": "vllm"}, "podTemplate": {"image": "registry.test/vllm:1"}}


def serving(*adapters: dict[str, Any], **spec: Any) -> ServingWorld:
    """Return a world in which revision 1 serves, with adapters."""
    plain = {"model": {"uri": "pvc://models/one"}, "replicas": 2, "traffic": {"provider": "gateway"}}
    world = ServingWorld(model_serve(**{**plain, "adapters": list(adapters), **spec}))
    world.settle()
    return world


def told_to_engines(world: ServingWorld, name: str = V1) -> list[str]:
    adapters = world.deployments[name].adapters
    return [each.name for each in adapters.adapters] if adapters else []


def listed(world: ServingWorld) -> tuple[str, ...]:
    """Return the adapters that a gateway lists."""
    assert world.routes is not None
    return world.routes.upstreams[0].adapters


def test_adapters_come_and_go_in_the_engines_that_run() -> None:
    world = serving(LEGAL)
    assert (world.status.revision, listed(world)) == (1, ("legal",))

    world.change(adapters=[LEGAL, FORMAL])
    world.reconcile()
    assert told_to_engines(world) == ["legal", "formal"]
    world.reconcile()
    assert (world.told(c.ADAPTERS_LOADED).status, world.told(c.ADAPTERS_LOADED).reason) == ("False", "Loading")
    assert world.told(c.ADAPTERS_LOADED).message == "adapter formal is on 0 of 2 pods"
    assert listed(world) == ("legal",), "not before all pods have it"
    world.settle()
    assert listed(world) == ("legal", "formal")
    assert [(each.name, each.ready_replicas) for each in world.status.adapters] == [("legal", 2), ("formal", 2)]
    assert (world.told(c.ADAPTERS_LOADED).status, world.told().reason) == ("True", c.SERVING)

    world.change(adapters=[FORMAL])
    world.settle()
    assert (told_to_engines(world), listed(world)) == (["formal"], ("formal",))
    world.change(adapters=[])
    world.settle()
    assert (told_to_engines(world), listed(world), world.status.adapters) == ([], (), ())
    assert (world.status.revision, len(world.status.revisions)) == (1, 1), "it is the same revision all along"


def test_what_its_pods_are_made_of_stays_and_what_they_should_have_is_remembered() -> None:
    world = serving(LEGAL)
    world.change(adapters=[FORMAL])
    world.settle()
    (revision,) = world.status.revisions
    assert [each.name for each in revision.template.adapters] == ["legal"]
    assert [each.name for each in revision.now.adapters] == ["formal"]
    world.change(adapters=[LEGAL])
    world.settle()
    assert world.status.revisions[0].adapters is None


def test_other_weights_under_a_name_are_a_revision() -> None:
    world = serving(LEGAL)
    world.change(adapters=[{"name": "legal", "uri": "pvc://models/legal-2"}])
    world.settle()
    assert [each.state for each in world.status.revisions] == ["Retired", "Promoted"]


def test_a_claim_that_the_pods_do_not_have_needs_other_pods() -> None:
    world = serving(LEGAL)
    world.change(adapters=[LEGAL, {"name": "tone", "uri": "pvc://elsewhere/tone"}])
    world.settle()
    assert world.status.revision == 2


def test_engines_that_cannot_load_adapters_are_rebuilt() -> None:
    world = serving(LEGAL, **VLLM)
    assert world.deployments[V1].adapters is None
    assert world.told(c.ADAPTERS_LOADED).status == "True", "it is not ready without them"
    world.change(adapters=[LEGAL, FORMAL])
    world.settle()
    assert world.status.revision == 2


def test_a_revision_that_does_not_answer_for_its_adapters_is_followed_by_another() -> None:
    world = ServingWorld(model_serve(model={"uri": "pvc://models/one"}, adapters=[LEGAL, FORMAL]))
    world.hindered = {1}
    world.settle()
    world.change(adapters=[LEGAL])
    world.settle()
    assert [each.state for each in world.status.revisions] == ["Superseded", "Promoted"]


def test_an_adapter_that_cannot_be_loaded_is_said_and_the_others_are_served() -> None:
    world = serving(LEGAL)
    world.deployments[V1].refuses = {"formal": "s3://models/formal is no adapter"}
    world.change(adapters=[LEGAL, FORMAL])
    events = [event for _ in range(6) for event in _step(world)]
    assert [(each.type, each.reason) for each in events if each.reason == c.ADAPTER_REFUSED] == [
        ("Warning", c.ADAPTER_REFUSED)
    ]
    sentence = "adapter formal cannot be loaded: s3://models/formal is no adapter"
    assert world.told(c.ADAPTERS_LOADED).message == sentence
    assert (listed(world), world.status.phase) == (("legal",), "Ready")
    assert [each.message for each in world.status.adapters] == [None, "s3://models/formal is no adapter"]


def _step(world: ServingWorld) -> tuple[Any, ...]:
    result = world.reconcile()
    world.engines_hear()
    world.gateways_hear()
    return result.events


def test_a_revision_that_is_rolled_out_is_given_them_too() -> None:
    canary = {"strategy": "canary", "steps": [{"weight": 10, "approval": True}]}
    world = serving(LEGAL, rollout=canary)
    world.change(model={"uri": "pvc://models/two"}, adapters=[LEGAL])
    world.settle()
    world.change(adapters=[LEGAL, FORMAL])
    world.settle()
    assert (told_to_engines(world), told_to_engines(world, "support-bot-v2")) == (["legal"], ["legal", "formal"])
    assert (world.status.revision, world.weights()) == (2, {1: 90, 2: 10}), "the rollout goes on"


def test_an_adapter_waits_for_its_own_gates() -> None:
    world = serving(LEGAL)
    world.others = (eval_job(name="formal-eval"),)
    world.change(adapters=[LEGAL, FORMAL | {"requires": [{"evalJob": "formal-eval"}]}])
    world.settle()
    assert (told_to_engines(world), world.told().reason) == (["legal"], c.WAITING_FOR_EVAL_JOB)
    assert world.told().message == "waits for the verdict of EvalJob formal-eval"
    assert world.status.phase == "Ready", "what serves goes on"

    judged = Subject(uri=FORMAL["uri"], adapter=True)
    status = EvalJobStatus(phase="Succeeded", verdict="Passed", target=judged)
    world.others = (eval_job(name="formal-eval").model_copy(update={"status": status}),)
    world.settle()
    assert told_to_engines(world) == ["legal", "formal"]


def test_a_refused_revision_that_was_given_adapters_is_not_tried_again() -> None:
    world = serving(LEGAL, rollout={"strategy": "canary", "steps": [{"weight": 10, "approval": True}]})
    world.change(model={"uri": "pvc://models/two"})
    world.settle()
    world.change(adapters=[LEGAL, FORMAL])
    world.settle()
    world.annotate(ABORT, "2")
    world.settle()
    assert (world.status.refused, world.status.revision) == (2, 2)
    world.change(adapters=[LEGAL])
    world.settle()
    assert world.status.revision == 3, "another spec is another try"


def test_undo_brings_back_the_adapters_that_a_revision_had_last() -> None:
    world = serving(LEGAL)
    world.change(adapters=[LEGAL, FORMAL])
    world.settle()
    world.change(model={"uri": "pvc://models/two"}, adapters=[LEGAL])
    world.settle()
    assert world.status.revision == 2
    world.annotate(UNDO, "1@3")
    world.settle()
    assert (world.status.revision, told_to_engines(world, "support-bot-v3")) == (3, ["legal", "formal"])
