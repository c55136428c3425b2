"""What follows for a FineTuneJob."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tunesmith_api import conditions as c
from tunesmith_api import uris
from tunesmith_api.contract import ProgressDocument, RunCheckpoints, RunIdentity, RunLimits, TrainResult, TrainRun
from tunesmith_api.data import TrainingData
from tunesmith_api.finetunejob import CheckpointStatus, FineTuneJobStatus, Phase, PublishedModel
from tunesmith_api.immutability import altered_fields, fingerprints
from tunesmith_api.resources import FineTuneJob
from tunesmith_api.training import Method
from tunesmith_operator.planner import attempts, finished, history, limits, losses, queueing, references, silence
from tunesmith_operator.planner.situation import Situation, as_status, condition, conditions_of_job, transition
from tunesmith_operator.planner.types import Event, Observed, Plan, Workload


@dataclass(frozen=True)
class _Outcome:
    """What has been decided: where the job stands, and what shall run."""

    status: FineTuneJobStatus
    phase: Phase
    situation: Situation
    ensure: tuple[Workload, ...] = ()
    again: timedelta | None = None


def plan(job: FineTuneJob, observed: Observed, now: datetime) -> Plan[FineTuneJobStatus]:
    """Return the plan for a FineTuneJob.

    | situation                                  | phase      | workloads                     |
    |--------------------------------------------|------------|-------------------------------|
    | a model it needs is a job's, not ready     | Pending    | none                          |
    | its references form a cycle                | Pending    | none                          |
    | a ModelServe keeps no feedback for it      | Pending    | none                          |
    | an attempt is due                          | Running    | that attempt                  |
    | an attempt runs                            | Running    | left alone                    |
    | a worker of the attempt comes back         | Recovering | left alone                    |
    | the last attempt failed, another follows   | Recovering | none until the delay ends     |
    | suspended, overdue or hung, and it runs    | Running    | stopped, in its grace period  |
    | a workload that it knows nothing of runs   | Recovering | that one is stopped           |
    | suspended, and nothing runs                | Suspended  | none                          |
    | its spec is no longer what it started with | unchanged  | left alone                    |
    | published                                  | Succeeded  | none; latches                 |
    | failed, no further attempt; overdue        | Failed     | none; latches                 |
    """
    if finished.phase_of(job.status):
        return finished.keep_fine_tune_job(job, observed, now)
    watched = _watched(job, observed, now)
    terms = attempts.Terms(
        prefix=f"{job.metadata.name}-a",
        policy=job.spec.run_policy,
        goal=TrainResult,
        gpus=limits.gpus_of(job),
        highest=job.status.attempt,
        ending=_ending(job, watched, now),
    )
    course = attempts.follow(terms, job.status.attempts, observed, now)
    altered = altered_fields(job)
    if altered and terms.ending is None:
        blocked = _Outcome(job.status, job.status.phase, attempts.altered(job, altered))
        return _settle(job, blocked, now)
    status = job.status.model_copy(
        update={
            "attempts": history.bounded(course.records),
            "gpu_hours": limits.gpu_hours(job.status, course.records),
            "watch": watched.watch,
        }
    )
    status, told = losses.taken_note(status, progress := _latest_progress(status, observed), job.spec.workers)
    status = _with_progress(status, progress)
    outcome = _outcome(job, status, course.decision, observed, now)
    again = (outcome.again, watched.again)
    return _settle(job, outcome, now, course.stop, told, again)


def _watched(job: FineTuneJob, observed: Observed, now: datetime) -> silence.Look:
    workload = observed.workloads.get(job.status.attempts[-1].workload) if job.status.attempts else None
    timeout = timedelta(seconds=job.spec.run_policy.progress_timeout_seconds)
    return silence.look(job.status.watch, workload, timeout, now)


def _ending(job: FineTuneJob, watched: silence.Look, now: datetime) -> attempts.Ending | None:
    """Return why no attempt may run now, if one may not."""
    if overdue := limits.overdue(job, now):
        return overdue
    policy = job.spec.run_policy
    if policy.suspend:
        return attempts.Ending(c.SUSPENDED, "runPolicy.suspend is true")
    if watched.hung:
        seconds = 2 * policy.progress_timeout_seconds
        return attempts.Ending(c.HUNG, f"it has reported nothing for {seconds} s, twice progressTimeoutSeconds")
    return None


def _outcome(
    job: FineTuneJob,
    status: FineTuneJobStatus,
    decision: attempts.Decision[TrainResult],
    observed: Observed,
    now: datetime,
) -> _Outcome:
    number = status.attempts[-1].number if status.attempts else 0
    match decision:
        case attempts.Due(number):
            return _start(job, status, number, observed, now)
        case attempts.Underway(workload=running):
            situation = attempts.underway(number, "training", running)
            if coming_back := losses.recovering(number, running.progress):
                situation = coming_back if situation.reason == c.RUNNING else situation
                return _Outcome(status, "Recovering", situation)
            return _Outcome(status, "Running", situation)
        case attempts.Stopping():
            return _Outcome(status, "Running", attempts.stopping(number, decision), again=attempts.ENDING_AGAIN)
        case attempts.Clearing():
            return _Outcome(status, "Recovering", attempts.clearing(decision), again=attempts.ENDING_AGAIN)
        case attempts.Halted():
            return _Outcome(status, "Suspended", _suspended(status))
        case attempts.Waiting(until):
            return _Outcome(status, "Recovering", attempts.retrying(decision), again=until - now)
        case attempts.Finished(result):
            model = result.model if result else status.output or PublishedModel(uri=job.spec.output.uri)
            status = status.model_copy(update={"output": model})
            return _Outcome(status, "Succeeded", _published(job, status, model, _latest_progress(status, observed)))
        case attempts.GivenUp(failure):
            return _Outcome(status, "Failed", Situation("failed", failure.reason, failure.message))


def _start(job: FineTuneJob, status: FineTuneJobStatus, number: int, observed: Observed, now: datetime) -> _Outcome:
    """Return what follows when attempt `number` should be running."""
    base = _base_model(job, observed)
    if isinstance(base, Situation):
        return _Outcome(status, "Pending", base)
    method = references.resolve_method(job.spec.method, observed)
    if isinstance(method, Situation):
        return _Outcome(status, "Pending", method)
    data = references.resolve_data(job.spec.data, observed)
    if isinstance(data, Situation):
        return _Outcome(status, "Pending", data)
    seconds = limits.seconds_left(job, status.gpu_hours)
    if seconds == 0 and not (status.checkpoints and status.checkpoints.latest):
        message = f"{_budget(job, status)}, and there is no checkpoint to publish; raise it in a new job"
        return _Outcome(status, "Failed", Situation("failed", c.BUDGET_SPENT, message))
    workload = _workload(job, base, method, data, number, seconds, history.nodes_to_avoid(status.attempts))
    records = attempts.started(status.attempts, number, workload.name, limits.gpus_of(job), now)
    changes = {"attempts": history.bounded(records), "started_with": fingerprints(job)}
    situation = Situation("working", c.STARTING, f"attempt {number} is starting")
    return _Outcome(status.model_copy(update=changes), "Running", situation, ensure=(workload,))


def _suspended(status: FineTuneJobStatus) -> Situation:
    latest = status.checkpoints.latest if status.checkpoints else None
    then = f"attempts go on from {latest.uri}" if latest else "training begins"
    return Situation("paused", c.SUSPENDED, f"runPolicy.suspend is true; when it is false, {then}")


def _published(
    job: FineTuneJob, status: FineTuneJobStatus, model: PublishedModel, progress: ProgressDocument | None
) -> Situation:
    if model.partial:
        how_far = limits.reached(status.progress)
        message = f"{_budget(job, status)} at step {how_far}; the model so far is published at {model.uri}"
        return Situation("done", c.BUDGET_SPENT, message)
    ending = f"; {progress.ending}" if progress and progress.ending else ""
    return Situation("done", c.COMPLETED, f"the model is published at {model.uri}{ending}")


def _budget(job: FineTuneJob, status: FineTuneJobStatus) -> str:
    return f"the {job.spec.run_policy.gpu_hours or 0:g} GPU-hours of runPolicy are used up ({status.gpu_hours or 0:g})"


def _base_model(job: FineTuneJob, observed: Observed) -> PublishedModel | Situation:
    if cycle := references.find_cycle(job, observed):
        ring = " -> ".join(cycle)
        return Situation(
            "blocked", c.REFERENCE_CYCLE, f"the models they begin with form a cycle: {ring}; change one of their URIs"
        )
    return references.resolve_uri(job.spec.model.uri, observed)


def _workload(
    job: FineTuneJob,
    base: PublishedModel,
    method: Method,
    data: TrainingData,
    number: int,
    seconds: float | None,
    avoided: tuple[str, ...],
) -> Workload:
    spec, meta, policy = job.spec, job.metadata, job.spec.run_policy
    folder = spec.checkpoints.uri or f"{spec.output.uri.rstrip('/')}-checkpoints"
    return Workload(
        name=f"{meta.name}-a{number}",
        namespace=meta.namespace,
        resources=spec.resources,
        pod_template=spec.pod_template,
        secrets=tuple(secret.name for secret in spec.secret_refs),
        backend=spec.backend,
        queue=spec.queue,
        grace_seconds=policy.grace_period_seconds,
        avoid_nodes=avoided,
        config=TrainRun(
            run=RunIdentity(kind="FineTuneJob", namespace=meta.namespace, name=meta.name, uid=meta.uid, attempt=number),
            model=base.uri,
            task=spec.model.task,
            data=data,
            method=method,
            training=spec.training,
            checkpoints=RunCheckpoints(
                # A job that is deleted and created again has another UID and starts afresh.
                uri=uris.join(folder, meta.uid) if meta.uid else folder,
                every_steps=spec.checkpoints.every_steps,
                keep=spec.checkpoints.keep,
            ),
            evaluation=spec.evaluation,
            tuning=spec.tuning,
            output=spec.output,
            deepspeed=spec.deepspeed,
            workers=spec.workers,
            min_workers=spec.min_workers,
            gpus=spec.resources.gpu,
            limits=RunLimits(
                max_failures=policy.max_failures,
                progress_timeout_seconds=policy.progress_timeout_seconds,
                seconds=seconds,
                grace_seconds=policy.grace_period_seconds,
            ),
        ),
    )


def _latest_progress(status: FineTuneJobStatus, observed: Observed) -> ProgressDocument | None:
    if not status.attempts:
        return None
    name = status.attempts[-1].workload
    workload = observed.workloads.get(name)
    return workload.progress if workload else observed.leftovers.get(name)


def _with_progress(status: FineTuneJobStatus, progress: ProgressDocument | None) -> FineTuneJobStatus:
    if progress is None:
        return status
    checkpoints = status.checkpoints
    if progress.checkpoint or progress.best:
        before = checkpoints or CheckpointStatus()
        newer = {"latest": progress.checkpoint or before.latest, "best": progress.best or before.best}
        checkpoints = before.model_copy(update=newer)
    return status.model_copy(
        update={
            "progress": progress.training or status.progress,
            "data": progress.data or status.data,
            "checkpoints": checkpoints,
            "tuning": progress.tuning or status.tuning,
        }
    )


def _settle(
    job: FineTuneJob,
    outcome: _Outcome,
    now: datetime,
    stop: tuple[str, ...] = (),
    told: tuple[Event, ...] = (),
    looks: tuple[timedelta | None, ...] = (),
) -> Plan[FineTuneJobStatus]:
    generation, previous, situation = job.metadata.generation, job.status.conditions, outcome.situation
    records = outcome.status.attempts
    suspended = as_status(outcome.phase == "Suspended")
    status = outcome.status.model_copy(
        update={
            "phase": outcome.phase,
            "observed_generation": generation,
            "attempt": records[-1].number if records else 0,
            "started_at": outcome.status.started_at or (records[0].started_at if records else None),
            "conditions": (
                *conditions_of_job(situation, previous, generation, now),
                condition(c.SUSPENDED, suspended, situation, previous, generation, now),
                *queueing.conditions(job, situation, now),
            ),
            **_suspension(outcome, now),
        }
    )
    over = outcome.phase in {"Succeeded", "Failed"}
    if outcome.phase != "Suspended":
        looks = (*looks, limits.time_left(job.model_copy(update={"status": status}), now))
    # The losses are told by events of their own.
    changed = () if situation.reason == c.RECOVERING else transition(situation, previous)
    waits = [each for each in looks if each is not None and each > timedelta()]
    again = None if over else min(waits, default=None)
    return Plan(status, ensure=outcome.ensure, stop=stop, events=(*told, *changed), requeue_after=again)


def _suspension(outcome: _Outcome, now: datetime) -> dict[str, object]:
    """Return how long a job has been suspended, as its status keeps it; before it has started nothing counts."""
    status = outcome.status
    since = min(status.suspended_since, now) if status.suspended_since else None
    if outcome.phase == "Suspended":
        return {"suspended_since": since or (now if status.attempts else None)}
    if since is None:
        return {}
    return {"suspended_since": None, "suspended_seconds": round(limits.suspended_for(status, now).total_seconds())}
