"""What a FineTuneJob says of the queue that it waits in."""

from datetime import datetime

from tunesmith_api import conditions as c
from tunesmith_api.meta import Condition
from tunesmith_api.resources import FineTuneJob
from tunesmith_operator.planner.situation import Situation, as_status, condition, find


def conditions(job: FineTuneJob, situation: Situation, now: datetime) -> tuple[Condition, ...]:
    """Return the condition Queued of a job that has a queue, or had one when it was last written; else none."""
    previous, generation = job.status.conditions, job.metadata.generation
    if job.spec.queue is None and find(previous, c.QUEUED) is None:
        return ()
    waits = situation.reason == c.WAITING_IN_QUEUE
    return (condition(c.QUEUED, as_status(waits), situation, previous, generation, now),)
