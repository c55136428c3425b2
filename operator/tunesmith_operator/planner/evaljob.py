"""What follows for an EvalJob."""

from collections.abc import Sequence
from datetime import datetime

from tunesmith_api import conditions as c
from tunesmith_api.contract import EvaluateResult, EvaluateRun, RunIdentity
from tunesmith_api.endpoint import SecretKey
from tunesmith_api.evaljob import MOST_RESULTS, EvalJobStatus, Subject
from tunesmith_api.gates import judge
from tunesmith_api.immutability import altered_fields, fingerprints
from tunesmith_api.resources import EvalJob
from tunesmith_api.suites import EvalSuite
from tunesmith_operator.planner import attempts, finished, history, limits, references, repeating
from tunesmith_operator.planner.situation import Situation
from tunesmith_operator.planner.types import Observed, Plan, Workload
from tunesmith_operator.planner.verdicts import settle, situation_of


def plan(job: EvalJob, observed: Observed, now: datetime) -> Plan[EvalJobStatus]:
    """Return the plan for an EvalJob.

    | situation                                | phase      | workloads                    |
    |------------------------------------------|------------|------------------------------|
    | target or baseline is not published yet  | Pending    | none                         |
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
    course = attempts.follow(terms, job.status.attempts, observed, now)
    if (altered := altered_fields(job)) and terms.ending is None:
        return settle(job, job.status, job.status.phase, attempts.altered(job, altered), now)
    status = job.status.model_copy(update={"attempts": history.bounded(course.records), "rating_url": None})
    number, stop = status.attempts[-1].number if status.attempts else 0, course.stop
    match course.decision:
        case attempts.Due(number):
            return _start(job, status, number, observed, now, stop)
        case attempts.Underway(workload=running):
            samples = running.progress.samples if running.progress else None
            if samples and samples.total:
                status = status.model_copy(update={"percent": min(100, 100 * samples.done // samples.total)})
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


def _start(
    job: EvalJob, status: EvalJobStatus, number: int, observed: Observed, now: datetime, stop: tuple[str, ...]
) -> Plan[EvalJobStatus]:
    subjects = _subjects(job, observed)
    if isinstance(subjects, Situation):
        return settle(job, status, "Pending", subjects, now, stop=stop)
    workload = _workload(job, *subjects, number, references.whole_of(job, observed))
    records = attempts.started(status.attempts, number, workload.name, job.spec.resources.gpu, now)
    changes = {"attempts": history.bounded(records), "started_with": fingerprints(job)}
    situation = Situation("working", c.STARTING, f"attempt {number} is starting")
    return settle(job, status.model_copy(update=changes), "Running", situation, now, ensure=(workload,), stop=stop)


def _subjects(job: EvalJob, observed: Observed) -> tuple[Subject, Subject | None] | Situation:
    target = references.resolve_target(job, job.spec.target, observed)
    if isinstance(target, Situation):
        return target
    if job.spec.baseline is None:
        return target, None
    baseline = references.resolve_target(job, job.spec.baseline, observed)
    return baseline if isinstance(baseline, Situation) else (target, baseline)


def _keys(suites: Sequence[EvalSuite], *subjects: Subject | None) -> tuple[SecretKey, ...]:
    """Return the keys of the endpoints that are asked, those of judges among them."""
    endpoints = [each.endpoint for each in subjects if each and each.endpoint]
    endpoints += [each.judge.endpoint for each in suites if each.judge]
    refusals = [each.safety.refusal for each in suites if each.safety and each.safety.refusal]
    endpoints += [each.judge.endpoint for each in refusals if each.judge]
    return tuple(dict.fromkeys(each.api_key_secret_ref for each in endpoints if each.api_key_secret_ref))


def _workload(job: EvalJob, target: Subject, baseline: Subject | None, number: int, whole: EvalJob | None) -> Workload:
    """Return attempt `number`; `whole` is the EvalJob that this one is a run of."""
    spec, meta = job.spec, job.metadata
    return Workload(
        name=f"{meta.name}-e{number}",
        namespace=meta.namespace,
        resources=spec.resources,
        pod_template=spec.pod_template,
        secrets=tuple(secret.name for secret in spec.secret_refs),
        keys=_keys(spec.suites, target, baseline),
        config=EvaluateRun(
            run=RunIdentity(kind="EvalJob", namespace=meta.namespace, name=meta.name, uid=meta.uid, attempt=number),
            target=target,
            baseline=baseline,
            suites=spec.suites,
            gates=spec.gates,
            batch_size=spec.batch_size,
            report=spec.report,
            answers=f"{(whole or job).spec.report.uri.rstrip('/')}-answers",
            earlier=tuple(run for run in whole.status.runs if run.ended_at) if whole else (),
        ),
    )


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
