"""The adapters of revisions: which ones servers should have, which ones they have, and what is said of that."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from tunesmith_api import conditions as c
from tunesmith_api.contract import AdapterReport, AdapterSet
from tunesmith_api.contract import ServedAdapter as Named
from tunesmith_api.meta import Condition
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_api.resources import ModelServe
from tunesmith_api.serving.revision import AdapterStatus, Revision, ServedAdapter
from tunesmith_operator.planner.serving import revisions
from tunesmith_operator.planner.serving.naming import numbered, revision_name
from tunesmith_operator.planner.situation import ConditionStatus, Situation, condition, find
from tunesmith_operator.planner.types import Event, Observed, ObservedWorkload, Plan


def named(adapters: Sequence[ServedAdapter]) -> tuple[Named, ...]:
    """Return adapters as a server is told of them."""
    return tuple(Named(name=each.name, uri=each.uri) for each in adapters)


def adapter_set(revision: Revision) -> AdapterSet | None:
    """Return the adapters that a revision's servers should have by now; None where they cannot change as they run."""
    if not revisions.loads_adapters(revision.template):
        return None
    return numbered(AdapterSet(generation=1, adapters=named(revision.now.adapters)))


def loaded_by_all(revision: Revision, seen: ObservedWorkload | None) -> tuple[str, ...]:
    """Return the names of the adapters that all servers of a revision have that are ready."""
    reports = _reports(revision, seen)
    return tuple(each.name for each in revision.now.adapters if all(each.name in report.loaded for report in reports))


def _reports(revision: Revision, seen: ObservedWorkload | None) -> list[AdapterReport]:
    """Return what servers say that are ready; of one that has yet to speak, what it cannot be ready without."""
    own = AdapterReport(loaded=tuple(each.name for each in revision.template.adapters))
    if seen is None or not seen.ready:
        return []
    said = [each if each.generation else own for each in seen.adapters]
    return said or [own] * seen.ready_replicas


def told(serve: ModelServe, status: ModelServeStatus, observed: Observed, now: datetime) -> Plan[ModelServeStatus]:
    """Return the status with the adapters of the revision that serves, and the event when something has become of them.

    | what its servers say           | condition                | event   |
    |--------------------------------|--------------------------|---------|
    | none is ready                  | as it was                |         |
    | one cannot load one            | False, AdapterRefused    | Warning |
    | one is still to load one       | False, Loading           |         |
    | all have all                   | True, AllLoaded          | Normal  |
    """
    serving = revisions.serving(status)
    if serving is None or not serving.now.adapters:
        return Plan(status.model_copy(update={"adapters": ()}))
    reports = _reports(serving, observed.workloads.get(revision_name(serve, serving.number)))
    adapters = tuple(_status(each.name, reports) for each in serving.now.adapters)
    before = find(serve.status.conditions, c.ADAPTERS_LOADED)
    holds, situation = _situation(adapters, len(reports))
    if not reports and before is not None:
        found = before.model_copy(update={"observed_generation": serve.metadata.generation})
    else:
        previous, generation = serve.status.conditions, serve.metadata.generation
        found = condition(c.ADAPTERS_LOADED, holds, situation, previous, generation, now)
    changes = {"adapters": adapters, "conditions": (*status.conditions, found)}
    return Plan(status.model_copy(update=changes), events=tuple(_events(found, before)))


def _status(name: str, reports: Sequence[AdapterReport]) -> AdapterStatus:
    refused = (each.message for report in reports for each in report.refused if each.name == name)
    count = sum(name in report.loaded for report in reports)
    return AdapterStatus(name=name, ready_replicas=count, message=next(refused, None))


def _situation(adapters: Sequence[AdapterStatus], pods: int) -> tuple[ConditionStatus, Situation]:
    refused = [f"adapter {each.name} cannot be loaded: {each.message}" for each in adapters if each.message]
    if refused:
        return "False", Situation("blocked", c.ADAPTER_REFUSED, "; ".join(refused))
    missing = [each for each in adapters if each.ready_replicas < max(pods, 1)]
    if missing:
        counts = (f"{each.name} is on {each.ready_replicas} of {pods} pods" for each in missing)
        return "False", Situation("working", c.LOADING, f"adapter {', '.join(counts)}")
    names = ", ".join(each.name for each in adapters)
    return "True", Situation("done", c.ALL_LOADED, f"all pods have loaded {names}")


def _events(now: Condition, before: Condition | None) -> Iterator[Event]:
    if before is not None and (before.reason, before.message) == (now.reason, now.message):
        return
    if now.reason == c.ADAPTER_REFUSED:
        yield Event("Warning", now.reason, now.message)
    elif now.status == "True":
        yield Event("Normal", now.reason, now.message)
