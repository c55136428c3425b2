"""What follows for an EvalJob."""

from datetime import datetime

from tunesmith_api import conditions as c
from tunesmith_api.contract import EvaluateResult, SampleProgress
from tunesmith_api.evaljob import MOST_RESULTS, EvalJobStatus, Subject
from tunesmith_api.gates import judge
from tunesmith_api.immutability import altered_fields, fingerprints
from tunesmith_api.resources import EvalJob
from tunesmith_operator.planner import attempts, evaluations, finished, history, limits, parts, references, repeating
from tunesmith_operator.planner.parts import Parts
from tunesmith_operator.planner.situation import Situation
from tunesmith_operator.planner.types import Observed, Plan, Workload
from tunesmith_operator.planner.verdicts import settle, situation_of


def plan(job: EvalJob, observed: Observed, now: datetime) -> Plan[EvalJobStatus]:
    """Return the plan for an EvalJob.

    | situation                                | phase      | workloads                    |
    |------------------------------------------|------------|------------------------------|
    | target or baseline is not published yet  | Pending    | none                         |
    | suites are measured apart, not all yet   | Running    | those (see parts.py)         |
    | an attempt is due                        | Running    | that attempt                 |
    | an attempt runs                          | Running    | left alone                   |
    | overdue, and it runs                     | Running    | stopped, in its grace period |
    | a workload that it knows nothing of runs | Recovering | that one is stopped          |
    | the last attempt failed, another follows | Recovering | none until the delay ends    |
    | its spec is not what it started with     | unchanged  | left alone                   |
    | there are results, hence a verdict       | Succeeded  | none; latches                |
    | failed, no further attempt; overdue      | Failed     | none; latches                |

    One that repeats has no workloads: its runs are EvalJobs (see repeating.py).
    """
    if finished.phase_of(job.status):
        return finished.keep_eval_job(job, observed, now)
    if job.spec.repeats:
        return repeating.plan(job, observed, now)
    terms = attempts.Terms(
        prefix=f"{job.metadata.name}-e",  # -a would collide with a FineTuneJob of the same name
        policy=job.spec.run_policy,
        goal=EvaluateResult,
        gpus=job.spec.resources.gpu,
        highest=job.status.attempt,
        known=job.status.verdict is not None,
        ending=limits.overdue(job, now),
    )
    if (altered := altered_fields(job)) and terms.ending is None:
        return settle(job, job.status, job.status.phase, attempts.altered(job, altered), now)
    beside = parts.follow(job, observed, terms.prefix, terms.ending, now)
    if not beside.over:
        return _apart(job, beside, observed, now)
    course = attempts.follow(terms, job.status.attempts, observed, now)
    changes = {"attempts": history.bounded(course.records), "parts": beside.records, "rating_url": None}
    status = job.status.model_copy(update=changes)
    number, stop = status.attempts[-1].number if status.attempts else 0, course.stop
    match course.decision:
        case attempts.Due(number):
            return _start(job, status, number, observed, now, stop)
        case attempts.Underway(workload=running):
            samples = running.progress.samples if running.progress else None
            if samples and samples.total:
                status = status.model_copy(update={"percent": _percent(job, status, samples)})
            doing = "evaluating"
            if rating := running.progress.rating if running.progress else None:
                status = status.model_copy(update={"rating_url": rating.url})
                doing = f"evaluating and waits for votes: {rating.votes} of {rating.needed}"
            situation = attempts.underway(number, doing, running)
            return settle(job, status, "Running", situation, now, stop=stop)
        case attempts.Stopping() as decision:
            situation = attempts.stopping(number, decision)
            return settle(job, status, "Running", situation, now, stop=stop, again=attempts.ENDING_AGAIN)
        case attempts.Clearing() as decision:
            situation = attempts.clearing(decision)
            return settle(job, status, "Recovering", situation, now, stop=stop, again=attempts.ENDING_AGAIN)
        case attempts.Waiting(until) as waiting:
            return settle(job, status, "Recovering", attempts.retrying(waiting), now, stop=stop, again=until - now)
        case attempts.Finished(result):
            status = _with_result(job, status, result) if result else status
            return settle(job, status, "Succeeded", situation_of(status), now, stop=stop)
        case attempts.GivenUp(failure):
            situation = Situation("failed", failure.reason, failure.message)
            return settle(job, status, "Failed", situation, now, stop=stop)
        case attempts.Halted():
            raise AssertionError("nothing suspends an EvalJob")


def _apart(job: EvalJob, beside: Parts, observed: Observed, now: datetime) -> Plan[EvalJobStatus]:
    """Return the plan of a job whose suites are measured apart."""
    status = job.status.model_copy(update={"parts": beside.records})
    if beside.percent is not None:
        status = status.model_copy(update={"percent": beside.percent})
    ensure: list[Workload] = []
    if beside.due:
        subjects = _subjects(job, observed)
        if isinstance(subjects, Situation):
            return settle(job, status, "Pending", subjects, now, stop=beside.stop)
        if problem := evaluations.beyond_reach(job, *subjects):
            return settle(job, status, "Pending", problem, now, stop=beside.stop)
        target, baseline = subjects
        known = {each.suite: each.attempts for each in beside.records}
        for due in beside.due:
            workload = evaluations.part(job, due, target, baseline, references.whole_of(job, observed))
            ensure.append(workload)
            name, gpus = due.part.suite.name, job.spec.resources.gpu
            known[name] = history.bounded(attempts.started(known[name], due.attempt, workload.name, gpus, now))
        status = status.model_copy(
            update={
                "parts": tuple(each.model_copy(update={"attempts": known[each.suite]}) for each in beside.records),
                "started_with": fingerprints(job),
                "started_at": status.started_at or now,
                # The very same for all parts, whatever is published meanwhile.
                "target": target,
                "baseline": baseline,
            }
        )
    assert beside.situation is not None  # noqa: S101 - parts that are not over
    return settle(
        job, status, beside.phase, beside.situation, now, ensure=tuple(ensure), stop=beside.stop, again=beside.again
    )


def _start(
    job: EvalJob, status: EvalJobStatus, number: int, observed: Observed, now: datetime, stop: tuple[str, ...]
) -> Plan[EvalJobStatus]:
    subjects = _subjects(job, observed)
    if isinstance(subjects, Situation):
        return settle(job, status, "Pending", subjects, now, stop=stop)
    told = job.model_copy(update={"status": status})
    workload = evaluations.attempt(told, *subjects, number, references.whole_of(job, observed))
    records = attempts.started(status.attempts, number, workload.name, job.spec.resources.gpu, now)
    changes = {"attempts": history.bounded(records), "started_with": fingerprints(job)}
    situation = Situation("working", c.STARTING, f"attempt {number} is starting")
    return settle(job, status.model_copy(update=changes), "Running", situation, now, ensure=(workload,), stop=stop)


def _subjects(job: EvalJob, observed: Observed) -> tuple[Subject, Subject | None] | Situation:
    if any(each.attempts for each in job.status.parts) and job.status.target is not None:
        return job.status.target, job.status.baseline
    target = references.resolve_target(job, job.spec.target, observed)
    if isinstance(target, Situation):
        return target
    if job.spec.baseline is None:
        return target, None
    baseline = references.resolve_target(job, job.spec.baseline, observed)
    return baseline if isinstance(baseline, Situation) else (target, baseline)


def _percent(job: EvalJob, status: EvalJobStatus, samples: SampleProgress) -> int:
    """Return the share of samples done; suites that were measured apart count as their share of all suites."""
    done, total = len(parts.measured(status)), len(job.spec.suites)
    return min(100, int(100 * (done + (total - done) * samples.done / samples.total) / total))


def _with_result(job: EvalJob, status: EvalJobStatus, result: EvaluateResult) -> EvalJobStatus:
    verdict, outcomes = judge(job.spec.gates, result.results, result.problems)
    return status.model_copy(
        update={
            "verdict": verdict,
            "gates": outcomes,
            "problems": tuple(each[:1024] for each in result.problems[:32]),
            "results": result.results[:MOST_RESULTS],
            "target": result.target,
            "baseline": result.baseline,
            "report": result.report,
            "spent": result.spent,
            "percent": 100,
        }
    )
