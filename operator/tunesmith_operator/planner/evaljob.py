"""What follows for an EvalJob."""

from dataclasses import replace
from datetime import datetime

from tunesmith_api import conditions as c
from tunesmith_api.contract import EvaluateResult, EvaluateRun, RunIdentity
from tunesmith_api.evaljob import EvalJobStatus
from tunesmith_api.finetunejob import Phase, PublishedModel
from tunesmith_api.gates import judge
from tunesmith_api.immutability import altered_fields, fingerprints
from tunesmith_api.resources import EvalJob
from tunesmith_operator.planner import attempts, references
from tunesmith_operator.planner.situation import (
    ConditionStatus,
    Situation,
    condition,
    conditions_of_job,
    transition,
)
from tunesmith_operator.planner.types import Observed, Plan, Workload


def plan(job: EvalJob, observed: Observed, now: datetime) -> Plan[EvalJobStatus]:
    """Return the plan for an EvalJob.

    | situation                                | phase     | workloads                 |
    |------------------------------------------|-----------|---------------------------|
    | target or baseline is not published yet  | Pending   | none                      |
    | an attempt is due                        | Running   | that attempt              |
    | an attempt runs                          | Running   | left alone                |
    | the last attempt failed, another follows | Running   | none until the delay ends |
    | its spec is not what it started with     | unchanged | left alone                |
    | there are results, hence a verdict       | Succeeded | none; latches             |
    | failed, no further attempt               | Failed    | none; latches             |
    """
    if job.status.phase in {"Succeeded", "Failed"}:
        return Plan(job.status)
    records, decision = attempts.follow(job.status.attempts, observed, job.spec.run_policy, EvaluateResult, now)
    if altered := altered_fields(job):
        return _settle(job, job.status, job.status.phase, attempts.altered(job, altered), now)
    status = job.status.model_copy(update={"attempts": records})
    match decision:
        case attempts.Due(number):
            models = _models(job, observed)
            if isinstance(models, Situation):
                return _settle(job, status, "Pending", models, now)
            workload = _workload(job, *models, number)
            records = attempts.started(records, number, workload.name, now)
            status = status.model_copy(update={"attempts": records, "started_with": fingerprints(job)})
            situation = Situation("working", c.STARTING, f"attempt {number} is starting")
            return _settle(job, status, "Running", situation, now, ensure=(workload,))
        case attempts.Underway(workload=running):
            samples = running.progress.samples if running.progress else None
            if samples and samples.total:
                status = status.model_copy(update={"percent": min(100, 100 * samples.done // samples.total)})
            situation = attempts.underway(records[-1].number, "evaluating", running)
            return _settle(job, status, "Running", situation, now)
        case attempts.Waiting(until) as waiting:
            settled = _settle(job, status, "Running", attempts.retrying(waiting), now)
            return replace(settled, requeue_after=until - now)
        case attempts.Finished(result):
            status = _with_result(job, status, result)
            return _settle(job, status, "Succeeded", _verdict(status), now)
        case attempts.GivenUp(failure):
            return _settle(job, status, "Failed", Situation("failed", failure.reason, failure.message), now)


def _models(job: EvalJob, observed: Observed) -> tuple[PublishedModel, PublishedModel | None] | Situation:
    target = references.resolve(job.spec.target, observed)
    if isinstance(target, Situation):
        return target
    if job.spec.baseline is None:
        return target, None
    baseline = references.resolve(job.spec.baseline, observed)
    return baseline if isinstance(baseline, Situation) else (target, baseline)


def _workload(job: EvalJob, target: PublishedModel, baseline: PublishedModel | None, number: int) -> Workload:
    spec, meta = job.spec, job.metadata
    return Workload(
        name=f"{meta.name}-e{number}",  # -a would collide with a FineTuneJob of the same name
        namespace=meta.namespace,
        resources=spec.resources,
        pod_template=spec.pod_template,
        secrets=tuple(secret.name for secret in spec.secret_refs),
        config=EvaluateRun(
            run=RunIdentity(kind="EvalJob", namespace=meta.namespace, name=meta.name, uid=meta.uid, attempt=number),
            target=target,
            baseline=baseline,
            suites=spec.suites,
            gates=spec.gates,
            batch_size=spec.batch_size,
            report=spec.report,
        ),
    )


def _with_result(job: EvalJob, status: EvalJobStatus, result: EvaluateResult) -> EvalJobStatus:
    verdict, outcomes = judge(job.spec.gates, result.results)
    return status.model_copy(
        update={
            "verdict": verdict,
            "gates": outcomes,
            "results": result.results,
            "target": result.target,
            "baseline": result.baseline,
            "report": result.report,
            "percent": 100,
        }
    )


def _verdict(status: EvalJobStatus) -> Situation:
    told = "; ".join(outcome.message for outcome in status.gates if outcome.passed == (status.verdict == "Passed"))
    match status.verdict:
        case "Passed":
            return Situation("done", c.GATES_PASSED, told or "evaluated; there are no gates")
        case "Failed":
            return Situation("done", c.GATE_FAILED, told)
        case _:
            return Situation("done", c.INCONCLUSIVE, told)


_PASSED: dict[str | None, ConditionStatus] = {"Passed": "True", "Failed": "False"}


def _settle(
    job: EvalJob,
    status: EvalJobStatus,
    phase: Phase,
    situation: Situation,
    now: datetime,
    ensure: tuple[Workload, ...] = (),
) -> Plan[EvalJobStatus]:
    generation, previous = job.metadata.generation, job.status.conditions
    passed = _PASSED.get(status.verdict, "Unknown")
    status = status.model_copy(
        update={
            "phase": phase,
            "observed_generation": generation,
            "attempt": status.attempts[-1].number if status.attempts else 0,
            "conditions": (
                *conditions_of_job(situation, previous, generation, now),
                condition(c.PASSED, passed, situation, previous, generation, now),
            ),
        }
    )
    return Plan(status, ensure=ensure, events=transition(situation, previous))
