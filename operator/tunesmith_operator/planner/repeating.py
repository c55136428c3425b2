"""An EvalJob that repeats, by a schedule or for each checkpoint of a job: its runs are EvalJobs of their own."""

from datetime import datetime

from croniter import CroniterError, croniter

from tunesmith_api import conditions as c
from tunesmith_api.evaljob import RUN_OF_LABEL, EvalJobSpec, EvalJobStatus, EvaluationRun, Report
from tunesmith_api.finetunejob import MetricValue, Phase
from tunesmith_api.meta import ObjectMeta, Reference
from tunesmith_api.resources import EvalJob, FineTuneJob
from tunesmith_api.uris import join
from tunesmith_operator.planner import finished
from tunesmith_operator.planner.references import run_of
from tunesmith_operator.planner.situation import Situation, find
from tunesmith_operator.planner.types import Observed, Plan
from tunesmith_operator.planner.verdicts import settle, situation_of

RUNS_KEPT = 50
# Metrics of a run that its EvalJob remembers.
METRICS_KEPT = 16
# So that NAME-r99999 is a name, and that run's pods have one.
LONGEST_NAME = 45

Runs = tuple[EvaluationRun, ...]


def plan(job: EvalJob, observed: Observed, now: datetime) -> Plan[EvalJobStatus]:
    """Return the plan for an EvalJob that repeats.

    | situation                                         | phase     | what follows                  |
    |---------------------------------------------------|-----------|-------------------------------|
    | a run goes on                                     | Running   | it is there                   |
    | a run is due                                      | Running   | it is created                 |
    | none is due                                       | Pending   | waits for the time, or the job|
    | its FineTuneJob has ended, its last step was seen | Succeeded | latches, with the last verdict|

    Runs beyond historyLimit are deleted, and stay in status.runs.
    """
    if problem := _problem(job.spec, job.metadata.name):
        return settle(job, job.status, "Pending", problem, now)
    status = _brought_up(job, observed, now)
    beyond = [_found(job, run.number, observed) for run in _beyond(job, status.runs)]
    retire = tuple(each.metadata.name for each in beyond if isinstance(each, EvalJob))
    last = status.runs[-1] if status.runs else None
    if last is None or last.ended_at is not None:
        due = _due(job, status, observed, now)
        if isinstance(due, Situation):
            phase: Phase = "Succeeded" if due.standing == "done" else "Pending"
            again = status.next_run_at - now if status.next_run_at else None
            settled = settle(job, status, phase, due, now, again=again)
            return Plan(settled.status, (), (), settled.events, settled.requeue_after, retire=retire)
        last = due
        runs = (*status.runs, due)[-RUNS_KEPT:]
        status = status.model_copy(update={"runs": runs, "next_run_at": _next(job, due, now)})
    found = _found(job, last.number, observed)
    if isinstance(found, Situation):
        return settle(job, status, "Running", found, now)
    situation = Situation("working", c.RUNNING, f"run {last.number} ({last.name}) is under way")
    settled = settle(job, status, "Running", situation, now)
    missing = () if found else (_run(job, last),)
    return Plan(settled.status, (), (), settled.events, settled.requeue_after, create=missing, retire=retire)


def _problem(spec: EvalJobSpec, name: str) -> Situation | None:
    if spec.schedule is not None and (message := schedule_problem(spec.schedule)):
        return Situation("blocked", c.SPEC_INVALID, message)
    if len(name) > LONGEST_NAME:
        message = (
            f"the name of an EvalJob that repeats has {LONGEST_NAME} characters at most, because its runs add theirs"
        )
        return Situation("blocked", c.SPEC_INVALID, message)
    return None


def schedule_problem(schedule: str) -> str | None:
    """Return what is wrong with a schedule, as a sentence, or None."""
    try:
        croniter(schedule)
    except (CroniterError, ValueError) as error:
        return f"spec.schedule: {schedule!r} is not a cron expression: {error}"
    return None


def _brought_up(job: EvalJob, observed: Observed, now: datetime) -> EvalJobStatus:
    """Return the status with the end of the last run, if it has come, and without the names of runs that are gone."""
    status = job.status
    gone = {
        run.number for run in _beyond(job, status.runs) if not isinstance(_found(job, run.number, observed), EvalJob)
    }
    runs = tuple(run.model_copy(update={"name": None}) if run.number in gone else run for run in status.runs)
    last = runs[-1] if runs else None
    if last is None or last.ended_at is not None:
        return status.model_copy(update={"runs": runs, "next_run_at": _next(job, last, now)})
    found = _found(job, last.number, observed)
    if not isinstance(found, EvalJob) or finished.phase_of(found.status) is None:
        return status.model_copy(update={"runs": runs})
    ended = _ended(last, found, now)
    copied: dict[str, object] = {"verdict": ended.verdict or "Inconclusive", "percent": found.status.percent}
    if ended.verdict is None:
        copied |= {"problems": (f"run {last.number} has failed: {ended.message}"[:1024],), "results": (), "gates": ()}
    else:
        names = ("target", "baseline", "results", "gates", "problems", "report")
        copied |= {name: getattr(found.status, name) for name in names}
    runs = (*runs[:-1], ended)
    return status.model_copy(update={"runs": runs, "next_run_at": _next(job, ended, now), **copied})


def _ended(run: EvaluationRun, found: EvalJob, now: datetime) -> EvaluationRun:
    status = found.status
    failed = find(status.conditions, c.FAILED) if status.verdict is None else None
    return run.model_copy(
        update={
            "ended_at": now,
            "verdict": status.verdict,
            "message": failed.message[:1024] if failed else None,
            "metrics": tuple(
                MetricValue(metric=each.metric, value=each.value) for each in status.results[:METRICS_KEPT]
            ),
            "report": status.report,
        }
    )


def _due(job: EvalJob, status: EvalJobStatus, observed: Observed, now: datetime) -> EvaluationRun | Situation:
    """Return the run that is to begin now, or the situation of an EvalJob that waits or has ended."""
    number = status.runs[-1].number + 1 if status.runs else 1
    run = EvaluationRun(number=number, name=run_of(job, number).name, started_at=now)
    if job.spec.schedule is None:
        return _due_checkpoint(job, status, run, observed)
    if status.next_run_at is not None and status.next_run_at <= now:
        return run
    before = f"; {status.runs[-1].verdict or 'failed'} the last time" if status.runs else ""
    return Situation("paused", c.WAITING_FOR_NEXT_RUN, f"run {number} starts at {status.next_run_at:%F %R} UTC{before}")


def _due_checkpoint(
    job: EvalJob, status: EvalJobStatus, run: EvaluationRun, observed: Observed
) -> EvaluationRun | Situation:
    name = job.spec.target.fine_tune_job or ""
    training = observed.resources.get(Reference(kind="FineTuneJob", name=name))
    if not isinstance(training, FineTuneJob):
        message = f"waits for FineTuneJob {name}, which does not exist; create it"
        return Situation("working", c.REFERENCE_NOT_FOUND, message)
    kept = training.status.checkpoints
    step = kept.latest.step if kept and kept.latest else None
    if step is not None and step not in {each.checkpoint for each in status.runs}:
        return run.model_copy(update={"checkpoint": step})
    if training.status.phase not in {"Succeeded", "Failed"}:
        return Situation("working", c.WAITING_FOR_NEXT_RUN, f"waits for the next checkpoint of FineTuneJob {name}")
    if not status.runs:
        message = f"FineTuneJob {name} has ended without a checkpoint; there is nothing to evaluate"
        return Situation("blocked", c.REFERENCE_FAILED, message)
    return situation_of(status)


def _next(job: EvalJob, last: EvaluationRun | None, now: datetime) -> datetime | None:
    """Return when the next run is due by the schedule. What came due while nobody looked is due once."""
    if job.spec.schedule is None:
        return None
    since = (last.ended_at or last.started_at) if last else job.metadata.creation_timestamp
    if since is None:
        return job.status.next_run_at or _after(job.spec.schedule, now)
    return _after(job.spec.schedule, min(since, now))


def _after(schedule: str, moment: datetime) -> datetime:
    found: datetime = croniter(schedule, moment).get_next(datetime)
    return found


def _beyond(job: EvalJob, runs: Runs) -> Runs:
    """Return the runs that are not to be kept as EvalJobs any more."""
    return tuple(run for run in runs[: -job.spec.history_limit] if run.name is not None)


def _run(job: EvalJob, run: EvaluationRun) -> EvalJob:
    """Return the EvalJob of a run: what its own says, once."""
    spec, name = job.spec, run_of(job, run.number).name
    target = spec.target
    if run.checkpoint is not None:
        target = target.model_copy(update={"checkpoint": str(run.checkpoint)})
    once = spec.model_copy(
        update={
            "schedule": None,
            "target": target,
            "report": Report(uri=join(spec.report.uri, name)),
            # When it goes is historyLimit's to say.
            "run_policy": spec.run_policy.model_copy(update={"ttl_seconds_after_finished": None}),
        }
    )
    # Not its labels: by them others, such as Argo CD, tell what is theirs to delete.
    labels = {RUN_OF_LABEL: job.metadata.name}
    return EvalJob(metadata=ObjectMeta(name=name, namespace=job.metadata.namespace, labels=labels), spec=once)


def _found(job: EvalJob, number: int, observed: Observed) -> EvalJob | Situation | None:
    """Return the EvalJob of a run; the situation of who needs its name while another has it; None if there is none."""
    reference = run_of(job, number)
    there = observed.resources.get(reference)
    if there is None or (isinstance(there, EvalJob) and there.metadata.labels.get(RUN_OF_LABEL) == job.metadata.name):
        return there
    message = f"{reference} exists and is no run of this one; delete it, or give this EvalJob another name"
    return Situation("blocked", c.NAME_TAKEN, message)
