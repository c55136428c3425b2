"""What is to be seen of a resource: its mirrored children, what the mirrors may not know yet, and whom it names."""

from collections.abc import Iterator
from datetime import datetime

from pydantic import ValidationError

from tunesmith_api.base import API_VERSION
from tunesmith_api.contract import ProgressDocument
from tunesmith_api.meta import Reference
from tunesmith_api.resources import EvalJob, ModelServe, Resource
from tunesmith_api.salvage import read
from tunesmith_operator.backends import choice, observation
from tunesmith_operator.backends.children import Children
from tunesmith_operator.backends.objects import OWNER_UID_LABEL, Object, progress_name
from tunesmith_operator.backends.observation import observe, report_of
from tunesmith_operator.controller.client import Api
from tunesmith_operator.planner import ObservedWorkload
from tunesmith_operator.planner.references import named_by

_ENDED = {"Succeeded", "Failed"}


async def look(
    api: Api, resource: Resource, children: dict[str, Children], now: datetime
) -> tuple[dict[str, ObservedWorkload], dict[str, ProgressDocument]]:
    """Return the workloads that are there by name, and the last words of those that are gone.

    `children` are the mirrored objects by workload; what is found besides is added to them.
    """
    for name in _doubtful(resource, children):
        await _look_for(api, resource, children.setdefault(name, Children(name)))
    for each in children.values():
        await _catch_up(api, resource, each)
    workloads = {name: seen for name, each in children.items() if (seen := observe(each, now)) is not None}
    gone = {name: each for name, each in children.items() if name not in workloads}
    return workloads, {name: said for name, each in gone.items() if (said := report_of(each)) is not None}


def _doubtful(resource: Resource, children: dict[str, Children]) -> list[str]:
    """Return the attempts that should be there and are not mirrored, and those of which only the pods are."""
    if isinstance(resource, ModelServe):
        return []
    records = list(resource.status.attempts)
    if isinstance(resource, EvalJob):
        records += [attempt for part in resource.status.parts for attempt in part.attempts]
    names = {each.workload for each in records if each.ended_at is None}
    names |= {name for name, each in children.items() if each.pods and each.deployment is None}
    return sorted(name for name in names if name not in children or children[name].attempt is None)


async def _look_for(api: Api, resource: Resource, children: Children) -> None:
    """Ask the API server itself for what an attempt was started as: nothing is taken for gone on hearsay."""
    namespace, uid = resource.metadata.namespace, resource.metadata.uid
    on_kuberay = children.progress is not None and choice.started_on(children.progress) == "kuberay"
    starter = await api.get("RayJob" if on_kuberay else "Job", namespace, children.name)
    if starter is None or (starter["metadata"].get("labels") or {}).get(OWNER_UID_LABEL) != uid:
        report = await api.get("ConfigMap", namespace, progress_name(children.name))
        if report is not None and (report["metadata"].get("labels") or {}).get(OWNER_UID_LABEL) == uid:
            children.progress = report
    elif on_kuberay:
        children.ray_job = starter
    else:
        children.job = starter


async def _catch_up(api: Api, resource: Resource, children: Children) -> None:
    """Read the last word of a run that has ended: its Job may be mirrored before the report that came first."""
    seen = observe(children)
    if children.attempt is None or seen is None or seen.state not in _ENDED:
        return
    if seen.progress is None or seen.progress.state not in _ENDED:
        report = await api.get("ConfigMap", resource.metadata.namespace, progress_name(children.name))
        children.progress = report or children.progress


def closed(children: dict[str, Children], wanted: set[str]) -> Iterator[Children]:
    """Yield what attempts have left that are over: ended, or begun and given up before there was anything to run."""
    for name, each in children.items():
        seen = observe(each)
        ended = seen is not None and seen.state in _ENDED
        begun = each.attempt is None and each.deployment is None and name not in wanted
        if ended or begun:
            yield each


def outdated(children: dict[str, Children], now: datetime) -> Iterator[tuple[Object, tuple[str, ...]]]:
    """Yield ConfigMaps with progress, each with the keys in it that pods have left which are long gone."""
    for each in children.values():
        keys = observation.outdated(each, now)
        if each.progress is not None and keys:
            yield each.progress, keys


async def referenced(api: Api, resource: Resource) -> dict[Reference, Resource]:
    """Return the resources that a resource names, and those that they name, as far as they can be read."""
    found: dict[Reference, Resource] = {}
    wanted = list(named_by(resource))
    while wanted:
        reference = wanted.pop()
        if reference in found:
            continue
        raw = await api.get(reference.kind, resource.metadata.namespace, reference.name)
        if raw is None:
            continue
        try:
            found[reference], _ = read(raw | {"apiVersion": API_VERSION, "kind": reference.kind})
        except ValidationError:
            continue  # it says itself what is wrong with it
        if reference.kind == "FineTuneJob":
            wanted.extend(named_by(found[reference]))
    return found
