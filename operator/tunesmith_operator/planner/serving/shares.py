"""How many pods each revision has, and which share of the requests: what follows from a rollout's stage."""

import math
from dataclasses import dataclass

from tunesmith_api.resources import ModelServe
from tunesmith_api.serving.revision import RolloutStatus
from tunesmith_api.serving.rollout import CanaryStep, Strategy
from tunesmith_operator.planner.types import Observed


@dataclass(frozen=True)
class Shares:
    """Pods of the revision that serves and of the one that is rolled out, and the percent of requests of the latter."""

    stable: int
    canary: int
    weight: int


def strategy_of(serve: ModelServe, observed: Observed) -> Strategy:
    """Return the strategy. On one machine two revisions can have one port only in turn, unless a gateway has it."""
    strategy = serve.spec.rollout.strategy
    in_turn = observed.address is None and serve.spec.traffic.provider == "replicas"
    return "recreate" if in_turn and strategy == "rolling" else strategy


def steps_of(serve: ModelServe) -> tuple[CanaryStep, ...]:
    """Return the steps of a rollout. Blue and green change places at once, and the old one stays for a while."""
    rollout = serve.spec.rollout
    if rollout.strategy == "blueGreen":
        return (CanaryStep(weight=100, pause_seconds=rollout.scale_down_delay_seconds),)
    return rollout.steps


def shares(
    serve: ModelServe, rollout: RolloutStatus, strategy: Strategy, replicas: int, *, first: bool, ready: int
) -> Shares:
    """Return what a stage of a rollout asks for; `replicas` is what a revision has that serves alone.

    | strategy      | Starting          | at a step of weight w      | Promoting                     |
    |---------------|-------------------|----------------------------|-------------------------------|
    | (first one)   | 0, all, 0%        |                            | 0, all, 100%                  |
    | recreate      | 0, all, 0%        |                            | 0, all, 100%                  |
    | blueGreen     | all, all, 0%      | all, all, w                | all, all, 100%                |
    | rolling       | all, 1, 0%        |                            | one more as one gets ready    |
    | canary        | all, share, 0%    | all, share, w              | all, all, 100% once all ready |

    Where shares are those of pods (provider replicas), the old revision has fewer pods as the new one's get ready.
    """
    by_pods = serve.spec.traffic.provider == "replicas"
    if first:
        return Shares(0, replicas, 100 if rollout.stage == "Promoting" else 0)
    match strategy:
        case "recreate":
            return Shares(0, replicas, 100 if rollout.stage == "Promoting" else 0)
        case "blueGreen":
            return Shares(replicas, replicas, _weight(serve, rollout))
        case "rolling":
            if rollout.stage != "Promoting":
                return Shares(replicas, 1, 0)
            ready = min(ready, replicas)
            # A gateway may go by its last weights for a moment.
            left = max(replicas - ready, 0 if by_pods else 1)
            return Shares(left, min(replicas, ready + 1), 100 * ready // replicas)
        case "canary":
            return _canary(serve, rollout, replicas, ready, by_pods=by_pods)


def _canary(serve: ModelServe, rollout: RolloutStatus, replicas: int, ready: int, *, by_pods: bool) -> Shares:
    if rollout.stage == "Promoting":
        weight = 100 if ready >= replicas else _last_weight(serve, rollout)
        # Pods that get the new revision's requests come before those of the old one go.
        left = max(replicas - ready, 0) if by_pods else replicas
        return Shares(left, replicas, weight)
    if rollout.step == 0:
        first = serve.spec.rollout.steps[0].weight if serve.spec.rollout.steps else 100
        return Shares(replicas, _pods(replicas, first), 0)
    weight = _weight(serve, rollout)
    canary = _pods(replicas, weight)
    if by_pods and weight and ready >= canary:
        return Shares(max(replicas - canary, 0 if weight == 100 else 1), canary, weight)
    return Shares(replicas, canary, weight)


def _pods(replicas: int, weight: int) -> int:
    return max(1, math.ceil(replicas * weight / 100))


def _weight(serve: ModelServe, rollout: RolloutStatus) -> int:
    if rollout.stage == "Promoting":
        return 100
    steps = steps_of(serve)
    if rollout.step == 0 or not steps:
        return 0
    return steps[min(rollout.step, len(steps)) - 1].weight


def _last_weight(serve: ModelServe, rollout: RolloutStatus) -> int:
    steps = steps_of(serve)
    return steps[min(rollout.step, len(steps)) - 1].weight if rollout.step and steps else 0
