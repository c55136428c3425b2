"""The parts of an EvalJob: suites measured apart, each by attempts of its own, before one attempt joins them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from tunesmith_api import conditions as c
from tunesmith_api.contract import PartResult, RunFailure
from tunesmith_api.evaljob import EvalJobSpec, EvalJobStatus, EvaluationPart
from tunesmith_api.finetunejob import Phase
from tunesmith_api.resources import EvalJob
from tunesmith_api.suites import EvalSuite
from tunesmith_operator.planner import attempts, history
from tunesmith_operator.planner.attempts import Course, Ending
from tunesmith_operator.planner.situation import Situation
from tunesmith_operator.planner.types import Observed, ObservedWorkload

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """A suite that is measured apart; `number` is its place among all suites, from 1."""

    number: int
    suite: EvalSuite

    def prefix(self, job: str) -> str:
        """Return what the names of its attempts' workloads begin with; no other resource has such names."""
        return f"{job}-p{self.number}-"


@dataclass(frozen=True)
class Due:
    """A part that is to be measured now, and the number of the attempt."""

    part: Part
    attempt: int


@dataclass(frozen=True)
class Parts:
    """The parts as they are now, and what follows. `over`: all are measured, and one attempt may join them."""

    records: tuple[EvaluationPart, ...]
    over: bool
    due: tuple[Due, ...] = ()
    stop: tuple[str, ...] = ()
    phase: Phase = "Running"
    situation: Situation | None = None
    again: timedelta | None = None
    percent: int | None = None


def apart(spec: EvalJobSpec) -> tuple[Part, ...]:
    """Return the suites that are measured apart.

    | suite                                       | parallelism 1 | above 1                  |
    |---------------------------------------------|---------------|--------------------------|
    | runs code                                   | apart         | apart                    |
    | asks people, or puts an endpoint under load | together      | together                 |
    | asks an endpoint                            | together      | together if limits are set |
    | any other                                   | together      | apart                    |

    A limit is kept by one process; and who is timed under load is not asked by others meanwhile.
    """
    return tuple(Part(number, suite) for number, suite in enumerate(spec.suites, 1) if _is_apart(spec, suite))


def _is_apart(spec: EvalJobSpec, suite: EvalSuite) -> bool:
    if suite.runs_code:
        return True
    if spec.parallelism == 1 or suite.human or suite.performance:
        return False
    asks = spec.target.is_endpoint or (spec.baseline is not None and spec.baseline.is_endpoint) or bool(suite.judges)
    return spec.limits is None or not asks


def measured(status: EvalJobStatus) -> tuple[str, ...]:
    """Return the names of the suites whose parts have been measured."""
    last = {each.suite: each.attempts[-1] for each in status.parts if each.attempts}
    return tuple(suite for suite, each in last.items() if each.ended_at and each.reason == c.COMPLETED)


def follow(job: EvalJob, observed: Observed, prefix: str, ending: Ending | None, now: datetime) -> Parts:
    """Return the parts of a job as they are now, and what to do.

    `prefix` begins the names of the attempts that join parts: once there is one, the parts are over.

    | the parts                                  | what follows                                         |
    |--------------------------------------------|------------------------------------------------------|
    | there are none, or all are measured        | over                                                 |
    | one has failed for good, or is overdue     | the job has failed                                   |
    | something else of the job runs             | it is stopped; nothing starts beside it              |
    | one is due, fewer than parallelism at work | it is started, in the order of the spec              |
    | one is due, as many as that at work        | it waits for them                                    |
    | one has failed otherwise                   | it is due again after a delay, the others go on      |

    A part follows the rules of attempts, with runPolicy.maxAttempts of its own.
    """
    found = apart(job.spec)
    joined = [*observed.workloads, *observed.leftovers]
    if not found or job.status.attempts or any(history.number_of(name, prefix) for name in joined):
        return Parts(job.status.parts, over=True)
    courses = {part: _course(job, part, observed, ending, now) for part in found}
    records = tuple(
        EvaluationPart(suite=part.suite.name, attempts=history.bounded(course.records))
        for part, course in courses.items()
    )
    stop = tuple(name for course in courses.values() for name in course.stop)
    strays = _strays(job, found, observed)
    stop += tuple(each.name for each in strays if not each.stopping)
    for part, course in courses.items():
        if isinstance(course.decision, attempts.GivenUp):
            alive = tuple(each.name for each in observed.workloads.values() if each.alive and not each.stopping)
            situation = _failed(part, course.decision.failure)
            return Parts(records, over=False, stop=alive, phase="Failed", situation=situation)
    if strays:
        clearing = attempts.clearing(attempts.Clearing(tuple(sorted(each.name for each in strays))))
        return Parts(
            records, over=False, stop=stop, phase="Recovering", situation=clearing, again=attempts.ENDING_AGAIN
        )
    if all(isinstance(course.decision, attempts.Finished) for course in courses.values()):
        return Parts(records, over=True, stop=stop)
    return _at_work(job, courses, records, stop, now)


def _course(job: EvalJob, part: Part, observed: Observed, ending: Ending | None, now: datetime) -> Course[PartResult]:
    known = {each.suite: each.attempts for each in job.status.parts}
    prefix = part.prefix(job.metadata.name)
    terms = attempts.Terms(
        prefix=prefix, policy=job.spec.run_policy, goal=PartResult, gpus=job.spec.resources.gpu, ending=ending
    )
    own = Observed(_own(observed.workloads, prefix), leftovers=_own(observed.leftovers, prefix))
    return attempts.follow(terms, known.get(part.suite.name, ()), own, now)


def _own(named: Mapping[str, T], prefix: str) -> dict[str, T]:
    return {name: each for name, each in named.items() if history.number_of(name, prefix)}


def _strays(job: EvalJob, found: Sequence[Part], observed: Observed) -> list[ObservedWorkload]:
    prefixes = [part.prefix(job.metadata.name) for part in found]
    return [
        each
        for each in observed.workloads.values()
        if each.alive and not any(history.number_of(each.name, prefix) for prefix in prefixes)
    ]


def _at_work(
    job: EvalJob,
    courses: Mapping[Part, Course[PartResult]],
    records: tuple[EvaluationPart, ...],
    stop: tuple[str, ...],
    now: datetime,
) -> Parts:
    """Return what follows as long as parts are measured."""
    due = [Due(part, each.decision.number) for part, each in courses.items() if isinstance(each.decision, attempts.Due)]
    # One that was to be started is there already, or about to be.
    due.sort(key=lambda each: not _is_recorded(courses[each.part], each.attempt))
    busy = (attempts.Underway, attempts.Stopping, attempts.Clearing)
    room = job.spec.parallelism - sum(isinstance(each.decision, busy) for each in courses.values())
    start = tuple(due[: max(room, 0)])
    waits = [each.decision.until - now for each in courses.values() if isinstance(each.decision, attempts.Waiting)]
    ends = any(isinstance(each.decision, attempts.Stopping | attempts.Clearing) for each in courses.values())
    again = min([*waits, *([attempts.ENDING_AGAIN] if ends else [])], default=None)
    situation = _situation(courses, start)
    phase: Phase = "Recovering" if situation.reason == c.RETRYING else "Running"
    return Parts(records, False, start, stop, phase, situation, again, _percent(job, courses))


def _is_recorded(course: Course[PartResult], attempt: int) -> bool:
    return bool(course.records) and course.records[-1].number == attempt and course.records[-1].ended_at is None


def _situation(courses: Mapping[Part, Course[PartResult]], start: Sequence[Due]) -> Situation:
    """Return what is most worth telling: what keeps a part from going on, else how far all are."""
    done = sum(isinstance(each.decision, attempts.Finished) for each in courses.values())
    told = f"{done} of {len(courses)} parts measured"
    waiting: Situation | None = None
    doing = [each.part.suite.name for each in start]
    for part, course in courses.items():
        match course.decision:
            case attempts.Underway(workload=workload):
                if workload.reason:
                    return _of(part, attempts.underway(course.records[-1].number, "measured", workload))
                doing.append(part.suite.name)
            case attempts.Stopping() as decision:
                return _of(part, attempts.stopping(course.records[-1].number, decision))
            case attempts.Clearing() as decision:
                return _of(part, attempts.clearing(decision))
            case attempts.Waiting() as decision:
                waiting = waiting or _of(part, attempts.retrying(decision))
            case _:
                pass
    if doing:
        return Situation("working", c.RUNNING, f"{told}; at work: {', '.join(sorted(doing))}")
    return waiting or Situation("working", c.RUNNING, told)


def _of(part: Part, situation: Situation) -> Situation:
    return Situation(situation.standing, situation.reason, f"suite {part.suite.name}: {situation.message}")


def _failed(part: Part, failure: RunFailure) -> Situation:
    return Situation("failed", failure.reason, f"suite {part.suite.name}: {failure.message}")


def _percent(job: EvalJob, courses: Mapping[Part, Course[PartResult]]) -> int:
    """Return how much of all suites is done, each of which counts as much."""
    done = 0.0
    for course in courses.values():
        match course.decision:
            case attempts.Finished():
                done += 1
            case attempts.Underway(workload=workload):
                samples = workload.progress.samples if workload.progress else None
                done += min(1.0, samples.done / samples.total) if samples and samples.total else 0
            case _:
                pass
    return int(100 * done / len(job.spec.suites))
