"""What the operator sees of the cluster: the mirrored children of all resources, and who looks when one changes."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunesmith_operator.backends.objects import INSTANCE_LABEL, OWNER_KIND_LABEL, OWNER_LABEL
from tunesmith_operator.backends.observation import Children, group
from tunesmith_operator.controller.client import Api, Object
from tunesmith_operator.controller.reflector import CHILDREN, TROUBLES, Reflector


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

    def __init__(self, api: Api, namespaces: Sequence[str], enqueue: Callable[[Key], None]) -> None:
        self._enqueue = enqueue
        scopes: Sequence[str | None] = namespaces or [None]
        self._children = [
            Reflector(api, kind, scope, selectors, self._child_changed)
            for kind, selectors in CHILDREN
            for scope in scopes
        ]
        self._troubles = [
            Reflector(api, "Event", scope, selectors, self._trouble) for selectors in TROUBLES for scope in scopes
        ]

    async def run(self) -> None:
        """Mirror until cancelled."""
        async with asyncio.TaskGroup() as group_of_tasks:
            for reflector in [*self._children, *self._troubles]:
                group_of_tasks.create_task(reflector.run())

    async def synced(self) -> None:
        """Wait until everything has been listed once."""
        for reflector in [*self._children, *self._troubles]:
            await reflector.synced.wait()

    def children_of(self, uid: str) -> dict[str, Children]:
        """Return the objects of a resource by workload, each with the troubles that were told of them."""
        owned = [each for reflector in self._children for each in reflector.owned_by(uid)]
        found = group(owned)
        if not found:
            return found
        workload_of = {each["metadata"]["uid"]: each["metadata"]["labels"][INSTANCE_LABEL] for each in owned}
        for reflector in self._troubles:
            for event in reflector.objects():
                if workload := workload_of.get(event["involvedObject"].get("uid", "")):
                    found[workload].troubles.append(event)
                elif event["involvedObject"].get("kind") == "ReplicaSet":
                    # A Deployment's own: NAME-HASH, and not mirrored.
                    workload = event["involvedObject"]["name"].rpartition("-")[0]
                    if workload in found and found[workload].deployment is not None:
                        found[workload].troubles.append(event)
        return found

    def _child_changed(self, each: Object) -> None:
        labels = each["metadata"].get("labels") or {}
        kind, name = labels.get(OWNER_KIND_LABEL), labels.get(OWNER_LABEL)
        if kind and name:
            self._enqueue(Key(kind, each["metadata"]["namespace"], name))

    def _trouble(self, event: Object) -> None:
        about = event["involvedObject"]
        name, namespace = about.get("name", ""), about.get("namespace", "")
        if about.get("kind") == "ReplicaSet":
            name = name.rpartition("-")[0]
        for reflector in self._children:
            child = reflector.find(namespace, name)
            if child is not None and child["kind"] in {"Job", "StatefulSet", "Deployment", "Pod"}:
                self._child_changed(child)
