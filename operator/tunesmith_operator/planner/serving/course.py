"""The course of a rollout: from one stage to the next, to its end, or back."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tunesmith_api import conditions as c
from tunesmith_api.resources import ModelServe
from tunesmith_api.serving.revision import Revision, RolloutStatus, Stage
from tunesmith_api.serving.rollout import CanaryStep, EvalJobTemplate
from tunesmith_api.traffic import RevisionTraffic
from tunesmith_operator.planner.serving import analysis, evaluation
from tunesmith_operator.planner.serving.commands import Commands
from tunesmith_operator.planner.serving.shares import steps_of
from tunesmith_operator.planner.situation import Situation
from tunesmith_operator.planner.types import Observed, ObservedWorkload

# How long a revision that has answered may not answer before it is taken back.
UNREADY = timedelta(seconds=60)
_LATER = timedelta(seconds=60)


@dataclass(frozen=True)
class View:
    """What is to be seen of a rollout.

    `needed` is how many pods the present stage asks for, `settled` whether all gateways go by what it asks for, and
    `cleared` whether the old revision's pods are gone, where they have to be.
    """

    revision: Revision
    workload: ObservedWorkload | None
    needed: int
    settled: bool
    cleared: bool
    canary: RevisionTraffic
    stable: RevisionTraffic | None
    first: bool

    @property
    def answering(self) -> str:
        """How many of them do, in words."""
        return f"{min(self.ready, self.needed)} of {self.needed} pods answer"

    @property
    def ready(self) -> int:
        """How many of its pods answer."""
        return self.workload.ready_replicas if self.workload and self.workload.ready else 0


@dataclass(frozen=True)
class Course:
    """What follows: the rollout goes on and stands in a situation, or is over, one way or the other."""

    rollout: RolloutStatus
    situation: Situation
    over: bool = False
    back: bool = False


def follow(
    serve: ModelServe, rollout: RolloutStatus, view: View, commands: Commands, observed: Observed, now: datetime
) -> Course:
    """Return what follows for a rollout.

    | stage      | goes on when                                                    | to                           |
    |------------|-----------------------------------------------------------------|------------------------------|
    | Starting   | the pods that it needs answer                                   | Evaluating 0, or the 1st step|
    | Evaluating | the step's EvalJob has passed                                   | the next step                |
    | Shifting   | the pods that the weight needs answer, and gateways go by it    | Observing                    |
    | Observing  | pauseSeconds have passed, the requests will do, it is approved  | Evaluating, or the next step |
    | Promoting  | all pods answer, and gateways send everything there             | its end                      |

    After the last step comes Promoting. It goes back when the revision cannot run, does not answer in time, breaks a
    bound of the analysis, or does not pass; or when a person says so.
    """
    number = rollout.revision
    if commands.aborts(number):
        return _back(rollout, Situation("blocked", c.ABORTED, f"revision {number} was taken back by `tunesmith abort`"))
    rollout = evaluation.heard(_attentive(rollout, view, now), observed)
    if refused := _refusal(serve, rollout, view, now):
        return _back(rollout, refused)
    if commands.paused:
        situation = Situation("paused", c.ROLLOUT_PAUSED, f"the rollout of revision {number} is paused")
        return Course(rollout, situation)
    if commands.promotes(number) and rollout.stage in {"Evaluating", "Shifting", "Observing"}:
        rollout = _entered(rollout, "Promoting", rollout.step, now)
    match rollout.stage:
        case "Starting":
            return _starting(serve, rollout, view, now)
        case "Evaluating":
            return _evaluating(serve, rollout, view, now)
        case "Shifting":
            if view.settled and view.ready >= view.needed:
                rollout = rollout.model_copy(update={"stage": "Observing", "since": now, "reached_at": now})
                return _observing(serve, rollout, view, commands, now)
            return _going(rollout, _towards(serve, rollout, view))
        case "Observing":
            return _observing(serve, rollout, view, commands, now)
        case "Promoting":
            if view.settled and view.ready >= view.needed and view.cleared:
                done = Situation("working", c.ROLLING_OUT, f"revision {number} has taken over")
                return Course(rollout, done, over=True)
            return _going(rollout, f"revision {number} takes over: {view.answering}")


def _starting(serve: ModelServe, rollout: RolloutStatus, view: View, now: datetime) -> Course:
    seen, number = view.workload, rollout.revision
    if view.ready and (view.first or view.ready >= view.needed):
        if serve.spec.rollout.eval_job_template is not None:
            return _evaluating(serve, _entered(rollout, "Evaluating", 0, now), view, now)
        return _next(serve, rollout, view.first, now)
    failure = seen.progress.failure if seen and seen.progress else None
    if seen and seen.state == "Failed" and failure and not failure.retryable:
        return Course(rollout, Situation("blocked", failure.reason, failure.message))
    if not view.cleared:
        return _going(rollout, f"revision {number} starts when the pods of the one before it are gone")
    if seen is None:
        return Course(rollout, Situation("working", c.STARTING, f"revision {number} is starting"))
    why = f": {seen.message}" if seen.message else ""
    return Course(
        rollout, Situation("working", seen.reason or c.STARTING, f"revision {number} does not answer yet{why}")
    )


def _evaluating(serve: ModelServe, rollout: RolloutStatus, view: View, now: datetime) -> Course:
    if template_of(serve, rollout) is None or evaluation.passed(rollout):
        return _next(serve, rollout, view.first, now)
    name = evaluation.underway(rollout)
    if name is None:
        rollout = evaluation.begun(serve, rollout)
        name = evaluation.underway(rollout)
    where = f"step {rollout.step} of {len(steps_of(serve))}" if rollout.step else "before it gets any request"
    situation = Situation(
        "working", c.WAITING_FOR_EVAL_JOB, f"revision {rollout.revision}, {where}: waits for EvalJob {name}"
    )
    return Course(rollout, situation)


def _observing(serve: ModelServe, rollout: RolloutStatus, view: View, commands: Commands, now: datetime) -> Course:
    step, number = _step(serve, rollout), rollout.revision
    where = f"revision {number}, step {rollout.step} of {len(steps_of(serve))} ({step.weight}%)"
    over = (rollout.reached_at or now) + timedelta(seconds=step.pause_seconds)
    if now < over:
        situation = Situation("working", c.ROLLING_OUT, f"{where}: until {over:%H:%M:%S} UTC")
        return Course(rollout, situation)
    bounds = serve.spec.rollout.analysis
    if bounds and step.weight and (lacking := analysis.lacking(bounds, view.canary)):
        return _going(rollout, f"{where}: waits for {lacking} more requests, to judge by them")
    if step.approval and not commands.approves(number, rollout.step):
        return Course(rollout, Situation("paused", c.WAITING_FOR_APPROVAL, f"{where}: waits for `tunesmith promote`"))
    if step.eval_job_template is not None:
        return _evaluating(serve, _entered(rollout, "Evaluating", rollout.step, now), view, now)
    return _next(serve, rollout, view.first, now)


def _next(serve: ModelServe, rollout: RolloutStatus, first: bool, now: datetime) -> Course:
    steps = steps_of(serve)
    if not first and rollout.step < len(steps):
        rollout = _entered(rollout, "Shifting", rollout.step + 1, now)
        weight = steps[rollout.step - 1].weight
        return _going(rollout, f"revision {rollout.revision}, step {rollout.step} of {len(steps)}: to {weight}%")
    return _going(_entered(rollout, "Promoting", rollout.step, now), f"revision {rollout.revision} takes over")


def template_of(serve: ModelServe, rollout: RolloutStatus) -> EvalJobTemplate | None:
    """Return the evaluation of the present step."""
    return _step(serve, rollout).eval_job_template if rollout.step else serve.spec.rollout.eval_job_template


def _step(serve: ModelServe, rollout: RolloutStatus) -> CanaryStep:
    steps = steps_of(serve)
    return steps[min(rollout.step, len(steps)) - 1] if rollout.step and steps else CanaryStep(weight=0)


def _refusal(serve: ModelServe, rollout: RolloutStatus, view: View, now: datetime) -> Situation | None:
    """Return why the revision is to be taken back, if it is."""
    number, seen = rollout.revision, view.workload
    failure = seen.progress.failure if seen and seen.progress else None
    if seen and seen.state == "Failed" and failure and not failure.retryable and not view.first:
        return Situation("blocked", failure.reason, failure.message)
    if view.first:  # there is nothing to go back to: it may take its time
        return evaluation.refusal(rollout, serve.spec.rollout.max_inconclusive)
    why = f": {seen.message}" if seen and seen.message else ""
    if rollout.stage in {"Starting", "Shifting", "Promoting"} and view.ready < view.needed and view.cleared:
        limit = serve.spec.rollout.progress_deadline_seconds
        if now >= rollout.since + timedelta(seconds=limit):
            hint = ""
            if seen and seen.reason == c.UNSCHEDULABLE:
                hint = "; where there is room for one revision only, set rollout.strategy to recreate"
            return Situation(
                "blocked",
                c.PROGRESS_DEADLINE_EXCEEDED,
                f"revision {number} did not answer within {limit} s{why}{hint}",
            )
    if rollout.unready_since and now >= rollout.unready_since + UNREADY:
        return Situation("blocked", (seen.reason if seen else "") or c.CRASHED, f"revision {number} went down{why}")
    if (bounds := serve.spec.rollout.analysis) and (found := analysis.broken(bounds, view.canary, view.stable, number)):
        return found
    return evaluation.refusal(rollout, serve.spec.rollout.max_inconclusive)


def _attentive(rollout: RolloutStatus, view: View, now: datetime) -> RolloutStatus:
    """Return the rollout that remembers since when none of its pods answers, once they have."""
    down = rollout.stage != "Starting" and view.ready == 0
    since = (rollout.unready_since or now) if down else None
    return rollout if since == rollout.unready_since else rollout.model_copy(update={"unready_since": since})


def _entered(rollout: RolloutStatus, stage: Stage, step: int, now: datetime) -> RolloutStatus:
    return rollout.model_copy(update={"stage": stage, "step": step, "since": now, "reached_at": None})


def _towards(serve: ModelServe, rollout: RolloutStatus, view: View) -> str:
    weight = _step(serve, rollout).weight
    return f"revision {rollout.revision}, step {rollout.step} of {len(steps_of(serve))}: to {weight}%, {view.answering}"


def _going(rollout: RolloutStatus, message: str) -> Course:
    return Course(rollout, Situation("working", c.ROLLING_OUT, message))


def _back(rollout: RolloutStatus, why: Situation) -> Course:
    return Course(rollout, replace(why, message=why.message[:2048]), back=True)


def look_again(serve: ModelServe, rollout: RolloutStatus, now: datetime) -> timedelta:
    """Return after how long a rollout has to be looked at, if nothing happens before."""
    deadline = rollout.since + timedelta(seconds=serve.spec.rollout.progress_deadline_seconds)
    times = [deadline, *([rollout.unready_since + UNREADY] if rollout.unready_since else [])]
    if rollout.stage == "Observing" and rollout.reached_at:
        times.append(rollout.reached_at + timedelta(seconds=_step(serve, rollout).pause_seconds))
    return min((time - now for time in times if time > now), default=_LATER)
