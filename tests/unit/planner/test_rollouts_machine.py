"""Rollouts under whatever may happen: nobody loses requests, and they end promoted or taken back, never in between."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.builders import model_serve
from tests.unit.planner.serving_world import GATEWAY, ServingWorld
from tests.unit.planner.test_rollouts import TEMPLATE
from tunesmith_api import conditions as c
from tunesmith_api.contract import RunFailure
from tunesmith_operator.planner.serving.commands import ABORT, PROMOTE

ROLLOUTS: list[dict[str, Any]] = [
    {},
    {"strategy": "recreate"},
    {"strategy": "blueGreen", "analysis": {"maxErrorRate": 0.1, "minRequests": 1}},
    {"strategy": "canary", "steps": [{"weight": 10, "pauseSeconds": 30}, {"weight": 60}]},
    {"strategy": "canary", "steps": [{"weight": 0}, {"weight": 50, "evalJobTemplate": TEMPLATE}]},
    {"strategy": "rolling", "evalJobTemplate": TEMPLATE, "maxInconclusive": 1},
]


class Rollouts(RuleBasedStateMachine):
    """One ModelServe, and all that may happen to it."""

    world: ServingWorld

    @initialize(rollout=st.sampled_from(ROLLOUTS), replicas=st.integers(1, 4), gateway=st.booleans())
    def begin(self, rollout: dict[str, Any], replicas: int, gateway: bool) -> None:
        if not gateway:
            rollout = {name: value for name, value in rollout.items() if name != "analysis"}
        provider = "gateway" if gateway else "replicas"
        self.world = ServingWorld(
            model_serve(
                model={"uri": "pvc://models/m0"},
                replicas=replicas,
                rollout={**rollout, "progressDeadlineSeconds": 120},
                traffic={"provider": provider},
            )
        )

    @rule()
    def reconcile(self) -> None:
        self.world.reconcile()

    @rule()
    def the_operator_dies_before_it_writes(self) -> None:
        self.world.carry_out(self.world.decide())

    @rule()
    def pods_start(self) -> None:
        self.world.pods_start()

    @rule()
    def gateways_hear(self) -> None:
        self.world.gateways_hear()

    @rule(number=st.integers(0, 3))
    def the_spec_changes(self, number: int) -> None:
        self.world.change(model={"uri": f"pvc://models/m{number}"})

    @rule(seconds=st.sampled_from([1, 30, 61, 200]))
    def time_passes(self, seconds: int) -> None:
        self.world.passes(seconds)

    @rule(data=st.data(), verdict=st.sampled_from(["Passed", "Failed", "Inconclusive"]))
    def a_verdict_comes(self, data: st.DataObject, verdict: Any) -> None:
        open_jobs = [name for name, job in self.world.jobs.items() if job.status.verdict is None]
        if open_jobs:
            self.world.judge(data.draw(st.sampled_from(sorted(open_jobs))), verdict)

    @rule(data=st.data(), final=st.booleans())
    def pods_go_down(self, data: st.DataObject, final: bool) -> None:
        names = sorted(self.world.deployments)
        if not names:
            return
        each = self.world.deployments[data.draw(st.sampled_from(names))]
        each.ready = max(0, each.ready - 1)
        if final and each.name != GATEWAY:
            each.ready = 0
            each.failure = RunFailure(reason=c.MODEL_INVALID, message="no model", retryable=False)

    @rule(errors=st.integers(0, 4))
    def requests_come(self, errors: int) -> None:
        for number in self.world.weights():
            self.world.sees(number, requests=10, errors=errors, routed=10)

    @rule(command=st.sampled_from([PROMOTE, ABORT]))
    def a_person_commands(self, command: str) -> None:
        self.world.annotate(command, str(self.world.status.revision))

    def teardown(self) -> None:
        """From any state it ends, once what can happen by itself has happened."""
        if not hasattr(self, "world"):
            return
        for _ in range(30):
            self.world.settle(2)
            for name, job in self.world.jobs.items():
                if job.status.verdict is None:
                    self.world.judge(name, "Passed")
            for number in self.world.weights():
                self.world.sees(number, requests=10, errors=0, routed=10)
            self.world.passes(61)
        status = self.world.status
        serving = [each for each in status.revisions if each.state == "Promoted"]
        down = [name for name, each in self.world.deployments.items() if each.failure]
        if not down:
            assert status.rollout is None, status.rollout
            assert (status.phase == "Ready") == bool(serving), status
        if serving and not down:
            mine = f"support-bot-v{serving[0].number}"
            assert self.world.deployments[mine].ready == self.world.serve.spec.replicas
            assert set(self.world.deployments) <= {mine, GATEWAY}
        before = self.world.decide()
        assert (before.status, before.events, before.stop, before.create) == (status, (), (), ())


Rollouts.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestRollouts = Rollouts.TestCase
