"""What the gateways have watched of a ModelServe, and what follows: conditions, events, an evaluation per episode."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tunesmith_api import conditions as c
from tunesmith_api.meta import Condition, Reference
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_api.resources import EvalJob, ModelServe
from tunesmith_api.serving.watch import WatchEvaluation, WatchPolicy, WatchReport, WatchStatus
from tunesmith_operator.planner.serving import evaluation, naming, revisions, traffic
from tunesmith_operator.planner.situation import ConditionStatus, Situation, condition, find
from tunesmith_operator.planner.types import Event, Observed, Plan

# EvalJobs of so many episodes stay.
_KEPT_EPISODES = 5


@dataclass(frozen=True)
class _Finding:
    """What is known of one thing that is watched; `status` None: nothing new, what was known holds."""

    kind: str
    status: ConditionStatus | None
    reason: str
    message: str


def watched(serve: ModelServe, status: ModelServeStatus, observed: Observed, now: datetime) -> Plan[ModelServeStatus]:
    """Return the status with what has been watched, and the events and the evaluation that follow.

    | what the gateways say            | condition         | what follows                                       |
    |----------------------------------|-------------------|----------------------------------------------------|
    | nothing yet                      | Unknown           | nothing                                            |
    | nothing any more                 | as it was         | nothing                                            |
    | a window differs, scores are low | True              | an event; an episode begins, with its evaluation   |
    | the other one as well            | True              | an event; the episode goes on                      |
    | all is well                      | False             | an event, if it was not; the episode is over       |
    """
    policy = serve.spec.watch
    if policy is None:
        return Plan(status.model_copy(update={"watch": None}))
    reports = [each.watch for each in traffic.reports(serve, observed) if each.watch]
    before, previous = serve.status.watch or WatchStatus(), serve.status.conditions
    findings = list(_findings(policy, reports))
    conditions = tuple(_condition(each, serve, now) for each in findings)
    events = tuple(event for each in conditions for event in _event(each, find(previous, each.type)))
    drift = max((each.drift.value for each in reports if each.drift), default=before.drift)
    watch = before.model_copy(
        update={
            "drift": drift if policy.drift else None,
            "quality": _mean(reports, before.quality) if policy.watcher else None,
            "since": _since(conditions, before, now),
        }
    )
    retire: tuple[str, ...] = ()
    if watch.since and before.since is None:
        watch, retire = _begun(serve, watch)
    watch, heard = _heard(watch, observed)
    status = status.model_copy(update={"watch": watch, "conditions": (*status.conditions, *conditions)})
    return Plan(status, events=(*events, *heard), create=_missing(serve, status, observed), retire=retire)


def _begun(serve: ModelServe, watch: WatchStatus) -> tuple[WatchStatus, tuple[str, ...]]:
    """Return the status with another episode, and the names of the EvalJobs that are to go."""
    episode, asked = watch.episode + 1, watch.evaluation
    names = (*watch.earlier, *((asked.name,) if asked else ()))
    template = serve.spec.watch.eval_job_template if serve.spec.watch else None
    another = WatchEvaluation(name=f"{serve.metadata.name}-w{episode}") if template else None
    kept = _KEPT_EPISODES - 1 if another else _KEPT_EPISODES
    changes = {"episode": episode, "evaluation": another, "earlier": names[-kept:]}
    return watch.model_copy(update=changes), names[:-kept]


def _findings(policy: WatchPolicy, reports: list[WatchReport]) -> Iterable[_Finding]:
    problem = next((each.problem for each in reports if each.problem), None)
    now = f"; for now: {problem}" if problem else ""
    yet = problem or "the gateway has not seen enough yet"
    if policy.drift:
        drifts = [each.drift for each in reports if each.drift]
        worst = max(drifts, key=lambda each: (each.drifted, each.value), default=None)
        if worst is None:
            yield _Finding(c.DRIFTED, None, c.WATCHING, yet)
        else:
            yield _Finding(
                c.DRIFTED,
                "True" if worst.drifted else "False",
                c.INPUTS_DIFFER if worst.drifted else c.INPUTS_ALIKE,
                f"{policy.drift.method} of the last {worst.requests} requests against the reference is "
                f"{worst.value:.3g}; the threshold is {policy.drift.limit:g}{now}",
            )
    if policy.watcher:
        score, answers = _mean(reports, None), sum(each.quality.answers for each in reports if each.quality)
        if score is None:
            yield _Finding(c.QUALITY_LOW, None, c.WATCHING, yet)
        else:
            low = score < policy.watcher.min_score
            yield _Finding(
                c.QUALITY_LOW,
                "True" if low else "False",
                c.SCORES_LOW if low else c.SCORES_FINE,
                f"the last {answers} answers that were graded have the score {score:.2f} on average; minScore is "
                f"{policy.watcher.min_score:g}{now}",
            )


def _mean(reports: list[WatchReport], otherwise: float | None) -> float | None:
    graded = [each.quality for each in reports if each.quality]
    answers = sum(each.answers for each in graded)
    return round(sum(each.score * each.answers for each in graded) / answers, 4) if answers else otherwise


def _condition(finding: _Finding, serve: ModelServe, now: datetime) -> Condition:
    previous, generation = serve.status.conditions, serve.metadata.generation
    before = find(previous, finding.kind)
    if finding.status is None and before is not None:
        return before.model_copy(update={"observed_generation": generation})
    situation = Situation("working", finding.reason, finding.message)
    return condition(finding.kind, finding.status or "Unknown", situation, previous, generation, now)


def _event(now: Condition, before: Condition | None) -> Iterable[Event]:
    was = before.status if before else "Unknown"
    if now.status == "True" and was != "True":
        yield Event("Warning", now.reason, now.message)
    elif now.status == "False" and was == "True":
        yield Event("Normal", now.reason, now.message)


def _since(conditions: tuple[Condition, ...], before: WatchStatus, now: datetime) -> datetime | None:
    """Return since when something is amiss."""
    return (before.since or now) if any(each.status == "True" for each in conditions) else None


def _heard(watch: WatchStatus, observed: Observed) -> tuple[WatchStatus, tuple[Event, ...]]:
    """Return the status with the verdict of the episode's evaluation, and the event when it has come."""
    asked = watch.evaluation
    found = evaluation.verdict_of(asked.name, observed) if asked and asked.verdict is None else None
    if asked is None or found is None:
        return watch, ()
    verdict, message = found
    told = asked.model_copy(update={"verdict": verdict, "message": message})
    passed = verdict == "Passed"
    event = Event("Normal" if passed else "Warning", c.GATES_PASSED if passed else c.GATE_FAILED, message)
    return watch.model_copy(update={"evaluation": told}), (event,)


def _missing(serve: ModelServe, status: ModelServeStatus, observed: Observed) -> tuple[EvalJob, ...]:
    """Return the episode's evaluation, unless it is there or has been."""
    asked, serving = status.watch and status.watch.evaluation, revisions.serving(status)
    template = serve.spec.watch.eval_job_template if serve.spec.watch else None
    if not asked or asked.verdict or template is None or serving is None:
        return ()
    seen = observed.workloads.get(naming.revision_name(serve, serving.number))
    if seen is None or seen.url is None or Reference(kind="EvalJob", name=asked.name) in observed.resources:
        return ()
    return (evaluation.made(serve, asked.name, template, seen.url, None),)
