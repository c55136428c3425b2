"""A kind of object, mirrored: listed, then watched; listed again when the watch cannot tell what was missed."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from tunesmith_api.queueing import Gang
from tunesmith_operator.backends.objects import MANAGED_BY_LABEL, MANAGER, OWNER_UID_LABEL, PROGRESS, ROLE_LABEL
from tunesmith_operator.controller.client import Api, ApiError, Object, UnreachableError

log = logging.getLogger(__name__)

_OURS = f"{MANAGED_BY_LABEL}={MANAGER}"
# What is mirrored of each kind. The run configs are left out: they never change, and they are large.
CHILDREN: tuple[tuple[str, dict[str, str]], ...] = (
    ("Job", {"labels": _OURS}),
    ("Deployment", {"labels": _OURS}),
    ("StatefulSet", {"labels": _OURS}),
    ("Service", {"labels": _OURS}),
    ("Pod", {"labels": _OURS}),
    ("ConfigMap", {"labels": f"{_OURS},{ROLE_LABEL}={PROGRESS}"}),
)
# Refusals that land in events alone: of a pod that could not be made, and of a volume that could not be mounted.
TROUBLES: tuple[dict[str, str], ...] = ({"fields": "reason=FailedCreate"}, {"fields": "reason=FailedMount"})
# What is mirrored of others where they are installed and the operator is told of them: of KubeRay, with the refusals
# of its pods; of Kueue, which does not label its objects as ours; and of the schedulers of gangs.
RAY_JOBS = {"labels": _OURS}
RAY_TROUBLES: tuple[dict[str, str], ...] = (
    {"fields": "reason=FailedToCreateHeadPod"},
    {"fields": "reason=FailedToCreateWorkerPod"},
)
GANGS: dict[Gang, tuple[Sequence[str], dict[str, str]]] = {
    "kueue": (("Workload", "WorkloadV1beta1"), {}),
    "volcano": (("VolcanoPodGroup",), {"labels": _OURS}),
    "coscheduling": (("CoschedulingPodGroup",), {"labels": _OURS}),
}

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0


class Reflector:
    """The objects of one kind that a selector chooses, in one namespace or all.

    `changed` is called with the object, as it was or is, whenever one appears, changes or vanishes; also for what
    vanished while nobody watched.
    """

    def __init__(
        self,
        api: Api,
        kind: str,
        namespace: str | None,
        selectors: dict[str, str],
        changed: Callable[[Object], None],
    ) -> None:
        self._api = api
        self._kind = kind
        self._namespace = namespace
        self._selectors = selectors
        self._changed = changed
        self._objects: dict[tuple[str, str], Object] = {}
        self._by_owner: dict[str, set[tuple[str, str]]] = {}
        self.synced = asyncio.Event()

    def objects(self) -> Iterable[Object]:
        """Return all objects."""
        return self._objects.values()

    def owned_by(self, uid: str) -> list[Object]:
        """Return the objects whose label names this owner."""
        return [self._objects[key] for key in sorted(self._by_owner.get(uid, ()))]

    def find(self, namespace: str, name: str) -> Object | None:
        """Return an object by its name, or None."""
        return self._objects.get((namespace, name))

    async def run(self) -> None:
        """Mirror until cancelled. What goes wrong is logged and tried again."""
        pause = 0.0
        while True:
            began = time.monotonic()
            try:
                await self._list_and_watch()
            except ApiError as error:
                if error.code != 410:
                    log.error("cannot watch %s: %s", self._kind, error)
            except UnreachableError as error:
                log.debug("%s; trying again", error)
            pause = pause_after(time.monotonic() - began, pause)
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311

    async def _list_and_watch(self) -> NoReturn:
        objects, version = await self._api.list_all(self._kind, self._namespace, **self._selectors)
        self._replace(objects)
        self.synced.set()
        while True:
            async for event, each in self._api.watch(self._kind, self._namespace, version, **self._selectors):
                version = each["metadata"]["resourceVersion"]
                if event == "DELETED":
                    self._remove(_key(each))
                elif event != "BOOKMARK":
                    self._put(each)

    def _replace(self, objects: list[Object]) -> None:
        there = {_key(each) for each in objects}
        for key in [key for key in self._objects if key not in there]:
            self._remove(key)
        for each in objects:
            known = self._objects.get(_key(each))
            if known is None or known["metadata"]["resourceVersion"] != each["metadata"]["resourceVersion"]:
                self._put(each)

    def _put(self, each: Object) -> None:
        each["kind"] = self._kind
        each["metadata"].pop("managedFields", None)  # a third of an object, and read by nobody here
        if self._kind in GANGS["kueue"][0]:
            each.pop("spec", None)  # the pods of all that Kueue knows, of which most are not ours
        key = _key(each)
        self._objects[key] = each
        if owner := _owner(each):
            self._by_owner.setdefault(owner, set()).add(key)
        self._changed(each)

    def _remove(self, key: tuple[str, str]) -> None:
        each = self._objects.pop(key, None)
        if each is None:
            return
        if owner := _owner(each):
            keys = self._by_owner.get(owner, set())
            keys.discard(key)
            if not keys:
                self._by_owner.pop(owner, None)
        self._changed(each)


def pause_after(lasted: float, pause: float) -> float:
    """Return for how many seconds to wait after a watch that lasted so long, and came after such a pause."""
    if lasted > LONGEST_PAUSE_SECONDS:
        return FIRST_PAUSE_SECONDS
    return min(max(2 * pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


def _key(each: Object) -> tuple[str, str]:
    return each["metadata"].get("namespace", ""), each["metadata"]["name"]


def _owner(each: Object) -> str | None:
    """Return the UID of the resource that an object is a child of, or of the object that a Workload speaks for."""
    if each["kind"].startswith("Workload"):
        return next((str(owner["uid"]) for owner in each["metadata"].get("ownerReferences") or ()), None)
    uid = (each["metadata"].get("labels") or {}).get(OWNER_UID_LABEL)
    return uid if isinstance(uid, str) else None
