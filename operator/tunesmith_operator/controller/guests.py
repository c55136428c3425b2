"""APIs of others: mirrored from when the cluster serves them, and KubeRay's operator, which may answer or not."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from tunesmith_operator.backends.kuberay import Offer
from tunesmith_operator.controller.client import RESOURCES, Api, ApiError, UnreachableError
from tunesmith_operator.controller.reflector import Reflector

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
# Its Helm chart's name for it, and that of its kustomization.
_OPERATOR = {"labels": "app.kubernetes.io/name in (kuberay-operator,kuberay)"}
# This kind came with KubeRay 1.6.
_RECENT = "raycronjobs"


class Guest:
    """A kind of somebody else's, mirrored from when the cluster serves it: in the first of the versions in `kinds`."""

    def __init__(self, api: Api, kinds: Sequence[str], mirrors: Callable[[str], Sequence[Reflector]]) -> None:
        self._api = api
        self._kinds = kinds
        self._mirrors = mirrors
        self.reflectors: Sequence[Reflector] = ()
        # It is mirrored, or it is not served.
        self.settled = asyncio.Event()

    async def run(self) -> None:
        """Mirror it until cancelled; as long as it is not served, look now and then."""
        while (kind := await self._served()) is None:
            await asyncio.sleep(LOOK_SECONDS)
        resource = RESOURCES[kind]
        log.info("%s of %s is served and mirrored from now on", resource.kind, resource.api_version)
        self.reflectors = self._mirrors(kind)
        async with asyncio.TaskGroup() as tasks:
            for reflector in self.reflectors:
                tasks.create_task(reflector.run())
            for reflector in self.reflectors:
                await reflector.synced.wait()
            self.settled.set()

    async def _served(self) -> str | None:
        """Return the first of the kinds that is served; settle when there is none for sure."""
        for kind in self._kinds:
            resource = RESOURCES[kind]
            group, _, version = resource.api_version.partition("/")
            try:
                if resource.plural in await self._api.discover(group, version):
                    return kind
            except (ApiError, UnreachableError) as error:
                log.debug("cannot ask for %s: %s", resource.plural, error)
                return None
        self.settled.set()
        return None


class KubeRay:
    """What the cluster has of KubeRay, looked at now and then."""

    def __init__(self, api: Api, namespaces: Sequence[str]) -> None:
        self._api = api
        self._namespaces = namespaces
        self.offer = Offer()
        self.seen = asyncio.Event()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                offer = await self._look()
            except (ApiError, UnreachableError) as error:
                log.debug("cannot look for KubeRay: %s", error)
            else:
                if offer != self.offer:
                    log.info("KubeRay: %s", _told(offer))
                self.offer = offer
                self.seen.set()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> Offer:
        kinds = await self._api.discover("ray.io", "v1")
        if "rayjobs" not in kinds:
            return Offer()
        return Offer(served=True, recent=_RECENT in kinds, answers=await self._answers())

    async def _answers(self) -> bool:
        """Return whether a Deployment of its operator has a pod that is ready, in the namespaces that may be seen."""
        scopes: Sequence[str | None] = self._namespaces or [None]
        for namespace in scopes:
            try:
                found, _ = await self._api.list_all("Deployment", namespace, **_OPERATOR)
            except ApiError as error:
                log.warning("cannot look for KubeRay's operator in %s: %s", namespace or "all namespaces", error)
                continue
            if any((each.get("status") or {}).get("availableReplicas") for each in found):
                return True
        return False


def _told(offer: Offer) -> str:
    if not offer.served:
        return "its API is not served"
    version = "1.6 or newer" if offer.recent else "before 1.6"
    return f"version {version}, its operator {'answers' if offer.answers else 'does not answer'}"
