"""What the operator sees of the cluster: the mirrored children of all resources, and who looks when one changes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith_api.queueing import Gang
from tunesmith_operator.backends.objects import INSTANCE_LABEL, OWNER_KIND_LABEL, OWNER_LABEL
from tunesmith_operator.backends.observation import Children, group
from tunesmith_operator.controller.client import Api, Object
from tunesmith_operator.controller.guests import Guest
from tunesmith_operator.controller.reflector import CHILDREN, GANGS, RAY_JOBS, RAY_TROUBLES, TROUBLES, Reflector

# A Deployment's ReplicaSet and a RayJob's RayCluster are not mirrored.
_MADE_BY = {"ReplicaSet", "RayCluster"}


@dataclass(frozen=True)
class Key:
    """A resource, as the queue knows it."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class World:
    """The children in the namespaces that are watched (none named: in all of them)."""

    def __init__(
        self,
        api: Api,
        namespaces: Sequence[str],
        enqueue: Callable[[Key], None],
        *,
        kuberay: bool = False,
        gangs: frozenset[Gang] = frozenset(),
    ) -> None:
        self._enqueue = enqueue
        scopes: Sequence[str | None] = namespaces or [None]
        self._children = [
            Reflector(api, kind, scope, selectors, self._child_changed)
            for kind, selectors in CHILDREN
            for scope in scopes
        ]
        self._troubles = [
            Reflector(api, "Event", scope, selectors, self._trouble)
            for selectors in (*TROUBLES, *(RAY_TROUBLES if kuberay else ()))
            for scope in scopes
        ]

        def guest(kinds: Sequence[str], selectors: dict[str, str], changed: Callable[[Object], None]) -> Guest:
            def mirrors(kind: str) -> list[Reflector]:
                return [Reflector(api, kind, scope, selectors, changed) for scope in scopes]

            return Guest(api, kinds, mirrors)

        # The children that are kinds of others, and what Kueue says of all that it knows.
        self._guests = [guest(("RayJob",), RAY_JOBS, self._child_changed)] if kuberay else []
        self._guests += [
            guest(*GANGS[gang], self._child_changed) for gang in sorted(gangs & {"volcano", "coscheduling"})
        ]
        self._admissions = guest(*GANGS["kueue"], self._admission) if "kueue" in gangs else None

    async def run(self) -> None:
        """Mirror until cancelled."""
        async with asyncio.TaskGroup() as group_of_tasks:
            for reflector in [*self._children, *self._troubles]:
                group_of_tasks.create_task(reflector.run())
            for guest in self._all_guests():
                group_of_tasks.create_task(guest.run())

    async def synced(self) -> None:
        """Wait until everything has been listed once."""
        for reflector in [*self._children, *self._troubles]:
            await reflector.synced.wait()
        for guest in self._all_guests():
            await guest.settled.wait()

    def _all_guests(self) -> list[Guest]:
        return [*self._guests, *([self._admissions] if self._admissions else [])]

    def _mirrors(self) -> list[Reflector]:
        """Return the mirrors of all children."""
        return [*self._children, *(reflector for guest in self._guests for reflector in guest.reflectors)]

    def children_of(self, uid: str) -> dict[str, Children]:
        """Return the objects of a resource by workload, each with the troubles that were told of them."""
        owned = [each for reflector in self._mirrors() for each in reflector.owned_by(uid)]
        found = group(owned)
        if not found:
            return found
        workload_of = {each["metadata"]["uid"]: each["metadata"]["labels"][INSTANCE_LABEL] for each in owned}
        for children in found.values():
            children.admission = self._admission_of(children.attempt)
        for reflector in self._troubles:
            for event in reflector.objects():
                if workload := workload_of.get(event["involvedObject"].get("uid", "")):
                    found[workload].troubles.append(event)
                elif event["involvedObject"].get("kind") in _MADE_BY:
                    workload = _maker(event["involvedObject"])
                    if workload in found and (found[workload].deployment or found[workload].ray_job):
                        found[workload].troubles.append(event)
        return found

    def _child_changed(self, each: Object) -> None:
        labels = each["metadata"].get("labels") or {}
        kind, name = labels.get(OWNER_KIND_LABEL), labels.get(OWNER_LABEL)
        if kind and name:
            self._enqueue(Key(kind, each["metadata"]["namespace"], name))

    def _admission_of(self, starter: Object | None) -> Object | None:
        """Return what Kueue says of a Job or RayJob."""
        if starter is None or self._admissions is None:
            return None
        uid = starter["metadata"].get("uid", "")
        return next((each for mirror in self._admissions.reflectors for each in mirror.owned_by(uid)), None)

    def _admission(self, workload: Object) -> None:
        for owner in workload["metadata"].get("ownerReferences") or ():
            self._changed_by_name(workload["metadata"]["namespace"], owner["name"], {"Job", "RayJob"})

    def _trouble(self, event: Object) -> None:
        about = event["involvedObject"]
        name = _maker(about) if about.get("kind") in _MADE_BY else about.get("name", "")
        self._changed_by_name(about.get("namespace", ""), name, {"Job", "RayJob", "StatefulSet", "Deployment", "Pod"})

    def _changed_by_name(self, namespace: str, name: str, kinds: set[str]) -> None:
        for reflector in self._mirrors():
            child = reflector.find(namespace, name)
            if child is not None and child["kind"] in kinds:
                self._child_changed(child)


def _maker(about: Mapping[str, Any]) -> str:
    """Return the name of the Deployment or RayJob that has made a ReplicaSet or RayCluster: NAME-HASH."""
    return str(about["name"]).rpartition("-")[0].removesuffix("-raycluster")
