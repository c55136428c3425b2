"""Where a resource stands, and the conditions that say so."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tunesmith_api import conditions as c
from tunesmith_api.meta import Condition
from tunesmith_operator.planner.types import Event

ConditionStatus = Literal["True", "False", "Unknown"]
Standing = Literal["working", "blocked", "paused", "done", "failed"]


@dataclass(frozen=True)
class Situation:
    """Where a resource stands, and why.

    `working` towards its goal, or waiting for others; `blocked` until a person changes something; `paused` because a
    person wants it so; `done`; or `failed` for good.
    """

    standing: Standing
    reason: str
    message: str


# standing -> (goal reached, Failed, Reconciling, Stalled)
_TABLE: dict[Standing, tuple[ConditionStatus, ConditionStatus, ConditionStatus, ConditionStatus]] = {
    "working": ("False", "False", "True", "False"),
    "blocked": ("False", "False", "False", "True"),
    "paused": ("False", "False", "False", "False"),
    "done": ("True", "False", "False", "False"),
    "failed": ("False", "True", "False", "True"),
}


def conditions_of_job(
    situation: Situation, previous: Sequence[Condition], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Return Succeeded, Failed, Reconciling and Stalled for a resource that runs to an end."""
    goal, failed, reconciling, stalled = _TABLE[situation.standing]
    wanted = {c.SUCCEEDED: goal, c.FAILED: failed, c.RECONCILING: reconciling, c.STALLED: stalled}
    return tuple(condition(kind, status, situation, previous, generation, now) for kind, status in wanted.items())


def conditions_of_server(
    situation: Situation, ready: bool, previous: Sequence[Condition], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Return Ready, Reconciling and Stalled. A server may be ready while it works towards its next revision."""
    _, _, reconciling, stalled = _TABLE[situation.standing]
    wanted = {c.READY: as_status(ready), c.RECONCILING: reconciling, c.STALLED: stalled}
    return tuple(condition(kind, status, situation, previous, generation, now) for kind, status in wanted.items())


def as_status(value: bool) -> ConditionStatus:
    """Return a condition's status for a truth value."""
    return "True" if value else "False"


def condition(
    kind: str,
    status: ConditionStatus,
    situation: Situation,
    previous: Sequence[Condition],
    generation: int,
    now: datetime,
) -> Condition:
    """Return a condition whose transition time moves only when its status does."""
    before = find(previous, kind)
    since = before.last_transition_time if before and before.status == status else now
    return Condition(
        type=kind,
        status=status,
        reason=situation.reason,
        message=situation.message[:4096],
        observed_generation=generation,
        last_transition_time=since,
    )


def find(conditions: Sequence[Condition], kind: str) -> Condition | None:
    """Return the condition of a type, if it is there."""
    return next((item for item in conditions if item.type == kind), None)


def is_true(conditions: Sequence[Condition], kind: str) -> bool:
    """Return whether the condition of a type is there and holds."""
    found = find(conditions, kind)
    return found is not None and found.status == "True"


# The words of a pod that does not start: they change with every node that comes and goes.
_IN_THE_CLUSTERS_WORDS = {
    c.UNSCHEDULABLE,
    c.QUOTA_EXCEEDED,
    c.VOLUME_NOT_MOUNTED,
    c.IMAGE_PULL_FAILED,
    c.CRASH_LOOP,
    c.WAITING_IN_QUEUE,
}
_ALARMING = (_IN_THE_CLUSTERS_WORDS - {c.WAITING_IN_QUEUE}) | {c.RETRYING, c.OUT_OF_MEMORY, c.EVICTED}


def transition(situation: Situation, previous: Sequence[Condition]) -> tuple[Event, ...]:
    """Return the event to post when the situation is a new one, judged by what the conditions said before."""
    before = find(previous, c.RECONCILING)
    same_reason = before is not None and before.reason == situation.reason
    if same_reason and situation.reason in _IN_THE_CLUSTERS_WORDS:
        return ()
    if before and same_reason and before.message == situation.message:
        return ()
    alarming = situation.standing in {"blocked", "failed"} or situation.reason in _ALARMING
    return (Event("Warning" if alarming else "Normal", situation.reason, situation.message),)
