"""What follows for a ModelServe."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tunesmith_api import conditions as c
from tunesmith_api.contract import ServeRun
from tunesmith_api.finetunejob import PublishedModel
from tunesmith_api.modelserve import ModelServeStatus, Requirement
from tunesmith_api.resources import EvalJob, ModelServe
from tunesmith_api.serving.revision import (
    Revision,
    RevisionTemplate,
    RolloutStatus,
    ServedAdapter,
)
from tunesmith_operator.planner import references
from tunesmith_operator.planner.serving import (
    analysis,
    commands,
    course,
    evaluation,
    loading,
    naming,
    revisions,
    scaling,
    telling,
    traffic,
    watching,
)
from tunesmith_operator.planner.serving.shares import Shares, shares, strategy_of
from tunesmith_operator.planner.situation import Situation
from tunesmith_operator.planner.types import Observed, Plan, Workload

# More stages than a rollout can go through at once.
_MOST_STAGES = 64


@dataclass(frozen=True)
class _Rollout:
    """A ModelServe's status after what is due, and where its rollout stands, if there is one."""

    status: ModelServeStatus
    situation: Situation | None = None
    again: timedelta | None = None


def plan(serve: ModelServe, observed: Observed, now: datetime) -> Plan[ModelServeStatus]:
    """Return the plan for a ModelServe.

    | situation                                          | phase       | what follows                            |
    |----------------------------------------------------|-------------|-----------------------------------------|
    | nothing serves, and a gate is not passed yet       | Pending     | it waits                                |
    | what the spec asks for is not what serves          | Progressing | a new revision, and its rollout         |
    | the spec changes while a revision is rolled out    | Progressing | that one is superseded by a new one     |
    | a rollout has come to its end                      | Ready       | the new revision serves, the old one is |
    |                                                    |             | stopped once no request goes there      |
    | a rollout has failed                               | Ready       | the old revision serves all requests    |
    |                                                    |             | again; the new one is refused           |
    | the spec asks for a revision that is refused       | as it is    | nothing, until the spec changes         |
    | the first revision cannot run                      | Failed      | nothing, until the spec changes         |
    | adapters come and go, and the engine can load them | as it is    | the revision is given them as it runs   |

    How a rollout goes on is in serving/course.py.
    """
    told = commands.read(serve)
    scaled = scaling.scale(serve, traffic.reports(serve, observed), now)
    status = revisions.adopted(serve, now).model_copy(update={"scaling": scaled.status})
    wanted = revisions.undone_to(status, told) or _wanted(serve, observed)
    if isinstance(wanted, RevisionTemplate):
        status = _chosen(serve, status, wanted, now)
    rolled = _followed(serve, status, told, observed, now)
    return _settled(serve, rolled, wanted, observed, now, scaled.again)


def _wanted(serve: ModelServe, observed: Observed) -> RevisionTemplate | Situation:
    """Return what the spec asks for, or what that waits for."""
    rollout = serve.spec.rollout
    if observed.address is None and rollout.strategy in {"canary", "blueGreen"} and not traffic.has_gateway(serve):
        return Situation(
            "blocked",
            c.SPEC_INVALID,
            f"on one machine two revisions cannot share a port: for {rollout.strategy} set traffic.provider to gateway",
        )
    if observed.address is None and serve.spec.engine.type != "transformers":
        return Situation(
            "blocked",
            c.SPEC_INVALID,
            f"engine {serve.spec.engine.type} is an image, which the local shell cannot run; set engine.type to "
            "transformers, or apply this to a cluster",
        )
    templates = [rollout.eval_job_template, *(each.eval_job_template for each in rollout.steps)]
    templates.append(serve.spec.watch.eval_job_template if serve.spec.watch else None)
    if any(templates) and len(serve.metadata.name) > evaluation.LONGEST_NAME:
        return Situation(
            "blocked",
            c.SPEC_INVALID,
            "the name of a ModelServe whose rollout or watch has evaluations has "
            f"{evaluation.LONGEST_NAME} characters at most, because they are named after it",
        )
    model = references.resolve(serve.spec.model, observed)
    if isinstance(model, Situation):
        return model
    if closed := _closed(serve.spec.requires, model, observed):
        return closed
    adapters: list[ServedAdapter] = []
    for each in serve.spec.adapters:
        found = references.resolve(each, observed)
        if isinstance(found, Situation):
            return found
        if closed := _closed(each.requires, found, observed):
            return closed
        adapters.append(ServedAdapter(**dict(found), name=each.name))
    return revisions.template_of(serve, model, adapters)


def _closed(requires: Sequence[Requirement], model: PublishedModel, observed: Observed) -> Situation | None:
    """Return the situation before the first gate that a model has not passed, if there is one."""
    return next((shut for each in requires if (shut := references.gate(each.eval_job, model, observed))), None)


def _chosen(serve: ModelServe, status: ModelServeStatus, wanted: RevisionTemplate, now: datetime) -> ModelServeStatus:
    """Return the status in which what is wanted serves, is rolled out, or is refused."""
    serving, rolling = revisions.serving(status), revisions.rolling_out(status)
    refused = revisions.find(status, status.refused)
    if refused and revisions.same(refused.now, wanted):
        return status
    status = status.model_copy(update={"refused": None})
    # One whose pods do not answer yet may never do so for the adapters that it was made with.
    answers = status.rollout is not None and status.rollout.stage != "Starting"
    if rolling and (revisions.same(rolling.now, wanted) or (answers and revisions.takes(rolling, wanted))):
        return revisions.given(status, rolling, wanted)
    if rolling:
        evaluations = status.rollout.evaluations if status.rollout else ()
        status = revisions.marked(status, rolling.number, "Superseded", evaluations=evaluations)
        status = status.model_copy(update={"rollout": None})
    if serving and revisions.takes(serving, wanted):
        return revisions.given(status, serving, wanted)
    status, revision = revisions.remember(status, wanted, serve.metadata.generation, now)
    return status.model_copy(update={"rollout": RolloutStatus(revision=revision.number, since=now)})


def _followed(
    serve: ModelServe, status: ModelServeStatus, told: commands.Commands, observed: Observed, now: datetime
) -> _Rollout:
    """Follow the rollout as far as it goes now."""
    situation, view = None, None
    for _ in range(_MOST_STAGES):
        rollout, revision = status.rollout, revisions.rolling_out(status)
        if rollout is None or revision is None:
            return _Rollout(status.model_copy(update={"rollout": None}), None)
        view = _view(serve, status, rollout, revision, observed)
        went = course.follow(serve, rollout, view, told, observed, now)
        situation = went.situation
        if went.back:
            return _Rollout(_taken_back(status, went), None)
        if went.over:
            return _Rollout(_promoted(status, revision, went.rollout, now), None)
        if went.rollout == rollout:
            break
        status = status.model_copy(update={"rollout": went.rollout})
    assert status.rollout is not None  # noqa: S101 - it would have been returned
    # A first revision has no deadline: there is nothing to go back to. While no pod of it answers, only they move it.
    waits_for_pods = view is not None and view.first and view.ready == 0
    return _Rollout(status, situation, None if waits_for_pods else course.look_again(serve, status.rollout, now))


def _view(
    serve: ModelServe, status: ModelServeStatus, rollout: RolloutStatus, revision: Revision, observed: Observed
) -> course.View:
    serving = revisions.serving(status)
    asked = _shares(serve, status, observed)
    wanted = traffic.routes(serve, serving, revision, asked, observed)
    reports = traffic.reports(serve, observed)
    old = observed.workloads.get(naming.revision_name(serve, serving.number)) if serving else None
    return course.View(
        revision=revision,
        workload=observed.workloads.get(naming.revision_name(serve, revision.number)),
        needed=1 if serving is None else (_replicas(serve, status) if rollout.stage == "Promoting" else asked.canary),
        settled=traffic.settled(serve, wanted, observed),
        cleared=asked.stable > 0 or old is None or strategy_of(serve, observed) != "recreate",
        canary=analysis.of_revision(reports, revision.number),
        stable=analysis.of_revision(reports, serving.number) if serving else None,
        first=serving is None,
    )


def _replicas(serve: ModelServe, status: ModelServeStatus) -> int:
    """Return how many pods a revision has that serves alone. While one is rolled out there is one at least."""
    if status.scaling is None:
        return serve.spec.replicas
    return max(status.scaling.replicas, 1) if status.rollout else status.scaling.replicas


def _shares(serve: ModelServe, status: ModelServeStatus, observed: Observed) -> Shares:
    replicas, rollout = _replicas(serve, status), status.rollout
    if rollout is None:
        return Shares(replicas, 0, 0)
    seen = observed.workloads.get(naming.revision_name(serve, rollout.revision))
    ready = seen.ready_replicas if seen and seen.ready else 0
    strategy = strategy_of(serve, observed)
    return shares(serve, rollout, strategy, replicas, first=revisions.serving(status) is None, ready=ready)


def _taken_back(status: ModelServeStatus, went: course.Course) -> ModelServeStatus:
    number, why = went.rollout.revision, went.situation
    state = revisions.marked(
        status,
        number,
        "Aborted" if why.reason == c.ABORTED else "Degraded",
        reason=why.reason,
        message=why.message,
        evaluations=went.rollout.evaluations,
    )
    return state.model_copy(update={"rollout": None, "refused": number})


def _promoted(status: ModelServeStatus, revision: Revision, rollout: RolloutStatus, now: datetime) -> ModelServeStatus:
    for each in status.revisions:
        if each.state == "Promoted":
            status = revisions.marked(status, each.number, "Retired")
    status = revisions.marked(status, revision.number, "Promoted", promoted_at=now, evaluations=rollout.evaluations)
    return status.model_copy(update={"rollout": None})


def _settled(
    serve: ModelServe,
    rolled: _Rollout,
    wanted: RevisionTemplate | Situation,
    observed: Observed,
    now: datetime,
    again: timedelta | None,
) -> Plan[ModelServeStatus]:
    """Return the plan of what the status says; `again` is when to look at the load."""
    status, retire = revisions.bounded(rolled.status, serve.spec.revision_history_limit)
    serving, rolling = revisions.serving(status), revisions.rolling_out(status)
    asked = _shares(serve, status, observed)
    numbers = (serving.number if serving else None, rolling.number if rolling else None)
    ensure: list[Workload] = []
    front, unsettled = None, False
    if serving or rolling:
        front = traffic.front(serve, *numbers, asked)
    if front and traffic.has_gateway(serve):
        routes = traffic.routes(serve, serving, rolling, asked, observed)
        ensure.append(traffic.gateway(serve, routes, observed))
        unsettled = bool(traffic.reports(serve, observed)) and not traffic.settled(serve, routes, observed)
    if serving and (asked.stable or not rolling):
        ensure.append(_workload(serve, serving, asked.stable or int(unsettled), observed))
    old = observed.workloads.get(naming.revision_name(serve, serving.number)) if serving else None
    if rolling and (asked.stable or old is None or strategy_of(serve, observed) != "recreate"):
        ensure.append(_workload(serve, rolling, asked.canary, observed))
    kept = {each.name for each in ensure}
    # Who may still get requests is stopped once all gateways know that it should not.
    others = tuple(sorted(name for name in observed.workloads if name not in kept))
    stop = tuple(name for name in others if not (unsettled and observed.workloads[name].ready))
    status = telling.with_shares(serve, status, asked, observed)
    create = _evaluations(serve, status, observed)
    settled = telling.told(serve, status, rolled.situation, wanted, observed, now)
    loaded = loading.told(serve, settled.status, observed, now)
    watched = watching.watched(serve, loaded.status, observed, now)
    return Plan(
        watched.status,
        ensure=tuple(ensure),
        stop=stop,
        events=(*settled.events, *loaded.events, *watched.events),
        requeue_after=min((each for each in (again, rolled.again) if each is not None), default=None),
        create=(*create, *watched.create),
        retire=(*retire, *watched.retire),
        front=front,
    )


def _evaluations(serve: ModelServe, status: ModelServeStatus, observed: Observed) -> tuple[EvalJob, ...]:
    rollout, serving = status.rollout, revisions.serving(status)
    template = course.template_of(serve, rollout) if rollout else None
    if rollout is None or template is None or rollout.stage != "Evaluating":
        return ()
    ours = observed.workloads.get(naming.revision_name(serve, rollout.revision))
    theirs = observed.workloads.get(naming.revision_name(serve, serving.number)) if serving else None
    if ours is None or ours.url is None:
        return ()
    return evaluation.missing(serve, rollout, template, (ours.url, theirs.url if theirs else None), observed)


def _workload(serve: ModelServe, revision: Revision, replicas: int, observed: Observed) -> Workload:
    template, meta = revision.template, serve.metadata
    return Workload(
        name=naming.revision_name(serve, revision.number),
        namespace=meta.namespace,
        resources=template.resources,
        replicas=replicas,
        pod_template=template.pod_template,
        secrets=tuple(secret.name for secret in template.secret_refs),
        engine=template.engine,
        model_cache=template.model_cache.claim_name if template.model_cache else None,
        config=ServeRun(
            run=traffic.identity(serve, revision.number),
            model=template.model.uri,
            digest=template.model.digest,
            adapters=loading.named(template.adapters),
            grace_seconds=traffic.GRACE_SECONDS,
            port=traffic.engine_port(serve, observed),
        ),
        adapters=loading.adapter_set(revision),
    )
