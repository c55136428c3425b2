"""Every decision of Tunesmith: `plan(resource, observed, now)` says what follows. Pure and total."""

from datetime import datetime

from tunesmith_api.resources import EvalJob, FineTuneJob, ModelServe, Resource
from tunesmith_operator.planner import evaljob, finetunejob, modelserve
from tunesmith_operator.planner.refusing import AnyPlan, refuse
from tunesmith_operator.planner.types import (
    Event,
    Front,
    Observed,
    ObservedWorkload,
    Plan,
    Status,
    Workload,
    WorkloadState,
)

__all__ = [
    "AnyPlan",
    "Event",
    "Front",
    "Observed",
    "ObservedWorkload",
    "Plan",
    "Status",
    "Workload",
    "WorkloadState",
    "plan",
    "refuse",
]


def plan(resource: Resource, observed: Observed, now: datetime) -> AnyPlan:
    """Return what follows from a resource and the observed world at the time `now` (with a time zone).

    Total: every observed state has a plan. Terminal states latch. Planning the planned state changes nothing.
    """
    match resource:
        case FineTuneJob():
            return finetunejob.plan(resource, observed, now)
        case EvalJob():
            return evaljob.plan(resource, observed, now)
        case ModelServe():
            return modelserve.plan(resource, observed, now)
