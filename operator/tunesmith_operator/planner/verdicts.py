"""What an EvalJob's status says, with a verdict and without."""

from datetime import datetime, timedelta

from tunesmith_api import conditions as c
from tunesmith_api.evaljob import EvalJobStatus
from tunesmith_api.finetunejob import Phase
from tunesmith_api.resources import EvalJob
from tunesmith_operator.planner import limits
from tunesmith_operator.planner.situation import (
    ConditionStatus,
    Situation,
    condition,
    conditions_of_job,
    transition,
)
from tunesmith_operator.planner.types import Plan, Workload


def situation_of(status: EvalJobStatus) -> Situation:
    """Return the situation of an EvalJob that has a verdict."""
    told = "; ".join(
        [
            *(outcome.message for outcome in status.gates if outcome.passed == (status.verdict == "Passed")),
            *(status.problems if status.verdict != "Passed" else ()),
        ]
    )
    match status.verdict:
        case "Passed":
            return Situation("done", c.GATES_PASSED, told or "evaluated; there are no gates")
        case "Failed":
            return Situation("done", c.GATE_FAILED, told)
        case _:
            return Situation("done", c.INCONCLUSIVE, told)


_PASSED: dict[str | None, ConditionStatus] = {"Passed": "True", "Failed": "False"}


def settle(
    job: EvalJob,
    status: EvalJobStatus,
    phase: Phase,
    situation: Situation,
    now: datetime,
    *,
    ensure: tuple[Workload, ...] = (),
    stop: tuple[str, ...] = (),
    again: timedelta | None = None,
) -> Plan[EvalJobStatus]:
    """Return the plan of an EvalJob in a phase and a situation."""
    generation, previous, records = job.metadata.generation, job.status.conditions, status.attempts
    passed = _PASSED.get(status.verdict, "Unknown")
    status = status.model_copy(
        update={
            "phase": phase,
            "observed_generation": generation,
            "attempt": records[-1].number if records else 0,
            "started_at": status.started_at or (records[0].started_at if records else None),
            "conditions": (
                *conditions_of_job(situation, previous, generation, now),
                condition(c.PASSED, passed, situation, previous, generation, now),
            ),
        }
    )
    looks = (again, limits.time_left(job.model_copy(update={"status": status}), now))
    waits = [each for each in looks if each is not None and each > timedelta()]
    requeue_after = None if phase in {"Succeeded", "Failed"} else min(waits, default=None)
    return Plan(status, ensure=ensure, stop=stop, events=transition(situation, previous), requeue_after=requeue_after)
