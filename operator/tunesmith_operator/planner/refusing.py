"""What follows when the cluster does not take what was planned."""

from datetime import datetime

from tunesmith_api import conditions as c
from tunesmith_api.evaljob import EvalJobStatus
from tunesmith_api.finetunejob import FineTuneJobStatus
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_api.resources import EvalJob, FineTuneJob, ModelServe, Resource
from tunesmith_operator.planner.situation import (
    Situation,
    conditions_of_job,
    conditions_of_server,
    is_true,
    transition,
)
from tunesmith_operator.planner.types import Plan

AnyPlan = Plan[FineTuneJobStatus] | Plan[EvalJobStatus] | Plan[ModelServeStatus]


def refuse(resource: Resource, situation: Situation, now: datetime) -> AnyPlan:
    """Return the plan of a resource that stands in `situation` and otherwise stays what it was."""
    previous, generation = resource.status.conditions, resource.metadata.generation
    if isinstance(resource, ModelServe):
        told = conditions_of_server(situation, is_true(previous, c.READY), previous, generation, now)
    else:
        told = conditions_of_job(situation, previous, generation, now)
        told += tuple(each for each in previous if each.type in {c.PASSED, c.SUSPENDED, c.QUEUED})
    changes: dict[str, object] = {"observed_generation": generation, "conditions": told}
    events = transition(situation, previous)
    match resource:
        case FineTuneJob(status=tuning):
            return Plan(tuning.model_copy(update=changes), events=events)
        case EvalJob(status=evaluation):
            return Plan(evaluation.model_copy(update=changes), events=events)
        case ModelServe(status=serving):
            return Plan(serving.model_copy(update=changes), events=events)
