"""One reconciliation: read a resource, observe, let the planner decide, apply, delete, write the status, tell."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tunesmith_api import conditions as c
from tunesmith_api.base import API_VERSION
from tunesmith_api.contract import TrainRun
from tunesmith_api.errors import explain
from tunesmith_api.resources import ModelServe, Resource
from tunesmith_api.salvage import read
from tunesmith_operator.backends import choice, fronts, gangs, native
from tunesmith_operator.backends.children import Children
from tunesmith_operator.backends.kuberay import Offer
from tunesmith_operator.backends.objects import (
    APPLIED_ANNOTATION,
    MANAGED_BY_LABEL,
    MANAGER,
    OWNER_KIND_LABEL,
    OWNER_UID_LABEL,
    front_name,
    owned,
    progress_name,
)
from tunesmith_operator.clock import SteadyClock
from tunesmith_operator.controller import events, sight, sweeping
from tunesmith_operator.controller.client import RESOURCES, Api, ApiError, Object, kind_of
from tunesmith_operator.controller.dependents import Dependents
from tunesmith_operator.controller.invalid import invalid
from tunesmith_operator.controller.summary import Summary
from tunesmith_operator.controller.training import TrainingMetrics
from tunesmith_operator.controller.world import Key, World
from tunesmith_operator.planner import AnyPlan, Event, Front, Observed, Plan, Workload, plan, refuse
from tunesmith_operator.planner.references import named_by
from tunesmith_operator.planner.situation import Situation, find

log = logging.getLogger(__name__)

# When to look again at what the API server refused: somebody must change something first.
REFUSED_AGAIN_SECONDS = 60.0
# Kinds whose objects take up an apply beside what they hold already; of all others the API server refuses it.
_MERGED = {"ConfigMap", "Service", "ServiceAccount"}
# An object that does not fit the schema of its kind, as some API servers say it: with the code of an internal error.
UNTYPED = "failed to create typed patch object"
# When to look again at what is about to go away by itself.
WAITING_AGAIN_SECONDS = 2.0


class RefusedError(Exception):
    """The cluster does not take an object; what follows for its resource."""

    def __init__(self, situation: Situation) -> None:
        super().__init__(situation.message)
        self.situation = situation


@dataclass
class Reconciler:
    """Brings resources, one at a time, nearer to what they ask for. Keeps nothing that the cluster does not know."""

    api: Api
    world: World
    settings: native.Settings
    dependents: Dependents
    summary: Summary
    now: Callable[[], datetime] = field(default_factory=SteadyClock)
    training: TrainingMetrics = field(default_factory=TrainingMetrics)
    kuberay: Callable[[], Offer] = Offer

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile the resource of a key; return the seconds after which to look again, or None.

        Raises ApiError and UnreachableError, after which the same is to be tried again.
        """
        raw = await self.api.get(key.kind, key.namespace, key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            # Its children go by their owner references.
            self.dependents.forget(key)
            self.summary.forget(key)
            self.training.forget(key)
            return None
        raw |= {"apiVersion": API_VERSION, "kind": key.kind}
        now = self.now().replace(microsecond=0)
        try:
            resource, mended = read(raw)
        except ValidationError as error:
            await self._refuse_invalid(key, raw, explain(error), now)
            return None
        self.dependents.set(key, named_by(resource))
        children = self.world.children_of(resource.metadata.uid)
        decision = await self._decide(resource, children, now)
        again = decision.requeue_after.total_seconds() if decision.requeue_after else None
        refused = False
        try:
            for workload in decision.ensure:
                await self._ensure(workload, children.get(workload.name))
            if decision.front:
                await self._ensure_front(decision.front, children.get(front_name(key.name)))
            for child in decision.create:
                await self._create_once(owned(child, resource))
        except RefusedError as refusal:
            refused, decision = True, refuse(resource, refusal.situation, now)
            again = WAITING_AGAIN_SECONDS if refusal.situation.reason == c.STARTING else REFUSED_AGAIN_SECONDS
        # Why something is stopped is written down before it is: who comes after a crash must know.
        await self._tell(key, raw, resource, decision, now, mended=mended)
        if not refused:
            for name in decision.stop:
                await self._stop(children[name])
            for name in decision.retire:
                await self.api.delete("EvalJob", key.namespace, name)
            wanted = {workload.name for workload in decision.ensure} | {front_name(key.name)}
            await self._tidy(children, wanted, now)
            if isinstance(resource, ModelServe):
                for each in sweeping.left(children, wanted):
                    await sweeping.sweep(self.api, each)
        if decision.delete:
            log.info("deleted, because it has ended and its ttlSecondsAfterFinished have passed")
            await self.api.delete(key.kind, key.namespace, key.name, only={"uid": resource.metadata.uid})
        return again

    async def _decide(self, resource: Resource, children: dict[str, Children], now: datetime) -> AnyPlan:
        workloads, leftovers = await sight.look(self.api, resource, children, now)
        address = fronts.address_of(resource) if isinstance(resource, ModelServe) else None
        return plan(resource, Observed(workloads, await sight.referenced(self.api, resource), leftovers, address), now)

    async def _ensure(self, workload: Workload, children: Children | None) -> None:
        """Apply the objects of a workload, unless the cluster has them as they should be."""
        there = (children.deployment or children.attempt) if children else None
        if there is not None and there["kind"] != "Deployment":
            return  # an attempt is what it was when it started
        begun = await self._started_on(workload, children)
        try:
            chosen = choice.choose(workload, self.settings, self.kuberay(), begun)
            objects = choice.render(workload, self.settings, self.kuberay(), chosen)
        except choice.UnavailableError as error:
            raise RefusedError(Situation("working", c.KUBERAY_UNAVAILABLE, str(error))) from error
        except native.RenderError as error:
            raise RefusedError(Situation("blocked", c.SPEC_INVALID, str(error))) from error
        wanted = objects[-1]
        services = sum(each["kind"] == "Service" for each in objects)
        if there is not None and children is not None:
            same = (there["metadata"].get("annotations") or {}).get(APPLIED_ANNOTATION)
            if same == wanted["metadata"]["annotations"][APPLIED_ANNOTATION] and len(children.services) >= services:
                return
        elif wanted["kind"] != "Deployment" and await self._is_started(wanted):
            return  # the mirror has not heard of it yet
        if chosen == "native" and (token := native.secret(workload, secrets.token_hex(32))):
            await self._create_once(token)
        for each in objects:
            if gangs.is_held(each):
                # Kueue alone lets it go: what is there already is not applied again.
                await self._create_once(each)
            else:
                await self._apply(each, known=there is not None)

    async def _ensure_front(self, front: Front, children: Children | None) -> None:
        """Let a ModelServe's one address lead where it should."""
        *others, service = fronts.objects(front)
        there = children.services[0] if children and children.services else None
        applied = (there["metadata"].get("annotations") or {}).get(APPLIED_ANNOTATION) if there else None
        if applied == service["metadata"]["annotations"][APPLIED_ANNOTATION]:
            return
        for each in others:
            if await self._may_make(each):
                await self._apply(each, known=there is not None)
        await self._apply(service, known=there is not None)
        if front.unroute and self.settings.gateway_api:
            await self.api.delete("HTTPRoute", front.owner.namespace, front.owner.name)

    async def _may_make(self, each: Object) -> bool:
        """Return whether the cluster serves a kind that not all have. Raises RefusedError where it has to."""
        kind = RESOURCES[kind_of(each)]
        group, _, version = kind.api_version.partition("/")
        if each["kind"] == "HTTPRoute" and not self.settings.gateway_api:
            sentence = (
                "traffic.provider gatewayAPI: the operator may make no HTTPRoutes here; ask the cluster's admin to "
            )
            raise RefusedError(Situation("blocked", c.SPEC_INVALID, f"{sentence}set gatewayApi in the chart's values"))
        if kind.plural in await self.api.discover(group, version):
            return True
        if each["kind"] == "HTTPRoute":
            sentence = (
                f"traffic.provider gatewayAPI: the cluster serves no HTTPRoutes ({kind.api_version}); install the "
            )
            raise RefusedError(Situation("blocked", c.OBJECT_REFUSED, f"{sentence}Gateway API, or choose another one"))
        return False

    async def _started_on(self, workload: Workload, children: Children | None) -> choice.Chosen | None:
        """Return what an attempt was started on, if it has been: its progress is there first, and says so."""
        if not isinstance(workload.config, TrainRun):
            return None
        progress = children.progress if children else None
        if progress is None and self.settings.backend != "native":
            progress = await self.api.get("ConfigMap", workload.namespace, progress_name(workload.name))
        if progress is None:
            return None
        owner = (progress["metadata"].get("labels") or {}).get(OWNER_UID_LABEL)
        return choice.started_on(progress) if owner == workload.config.run.uid else None

    async def _is_started(self, starter: Object) -> bool:
        meta = starter["metadata"]
        there = await self.api.get(kind_of(starter), meta["namespace"], meta["name"])
        labels = (there["metadata"].get("labels") or {}) if there else {}
        return there is not None and labels.get(OWNER_UID_LABEL) == meta["labels"].get(OWNER_UID_LABEL)

    async def _create_once(self, body: Object) -> None:
        """Create an object, unless it is there. Whose it is shows in its UID label, where it may be read."""
        try:
            await self.api.create(body)
        except ApiError as error:
            if error.code != 409:
                raise _refused(body, error) from error
            if body["kind"] != "Secret" and (held := await self._held_by_others(body)):
                raise RefusedError(held) from error

    async def _apply(self, body: Object, *, known: bool) -> None:
        """Apply an object. What is not known to be ours is never taken away from whoever holds it."""
        if not known and body["kind"] in _MERGED and (held := await self._held_by_others(body)):
            raise RefusedError(held)
        try:
            await self.api.apply(body, force=known)
        except ApiError as error:
            if error.code in {409, 422} and (held := await self._held_by_others(body)):
                raise RefusedError(held) from error
            if error.code != 422 or not body.get("immutable"):
                raise _refused(body, error) from error
            # The config of a start that came to nothing, or of a server that is to be another now.
            await self._delete(body)
            await self.api.apply(body, force=known)

    async def _held_by_others(self, body: Object) -> Situation | None:
        """Return the situation of who needs an object's name while another resource has it, or None."""
        meta, what = body["metadata"], f"{body['kind']} {body['metadata']['name']}"
        kind = meta["labels"][OWNER_KIND_LABEL]
        there = await self.api.get(kind_of(body), meta["namespace"], meta["name"])
        labels = (there["metadata"].get("labels") or {}) if there else {}
        if there is None or labels.get(OWNER_UID_LABEL) == meta["labels"].get(OWNER_UID_LABEL):
            return None
        if labels.get(MANAGED_BY_LABEL) == MANAGER:
            return Situation("working", c.STARTING, f"waits until {what} of an earlier resource of this name is gone")
        return Situation(
            "blocked",
            c.NAME_TAKEN,
            f"{what} exists and is not Tunesmith's; delete it, or give this {kind} another name",
        )

    async def _stop(self, children: Children) -> None:
        """Delete what runs a workload. An attempt is there until its pods are gone: nothing may start beside them."""
        for each in (children.attempt, children.stateful_set):
            if each is not None:
                await self._delete(each, foreground=True)
        for each in (children.deployment, children.pod_group):
            if each is not None:
                await self._delete(each)

    async def _tidy(self, children: dict[str, Children], wanted: set[str], now: datetime) -> None:
        """Delete the further pods and the Services of attempts that are over; the driver's pod stays, for its log.

        And what servers' pods have said that are long gone.
        """
        for progress, keys in sight.outdated(children, now):
            meta = progress["metadata"]
            gone = {"data": dict.fromkeys(keys)}
            await self.api.merge("ConfigMap", meta["namespace"], meta["name"], gone)
        for each in sight.closed(children, wanted):
            if each.pod_group is not None:
                await self._delete(each.pod_group)
            if each.stateful_set is not None:
                await self._delete(each.stateful_set)
            if each.deployment is None:
                for service in each.services:
                    await self._delete(service)

    async def _delete(self, each: Object, *, foreground: bool = False) -> None:
        meta = each["metadata"]
        await self.api.delete(each["kind"], meta["namespace"], meta["name"], foreground=foreground)

    async def _refuse_invalid(self, key: Key, raw: Object, sentences: list[str], now: datetime) -> None:
        self.dependents.set(key, ())
        before = raw.get("status") or {}
        if before.get("phase") in {"Succeeded", "Failed"}:
            return
        status, told = invalid(raw, sentences, now)
        if status != before:
            await self._write(raw, status)
        await self._post(key, raw, told, now)
        self.summary.set(key, status.get("phase", "Pending"), c.SPEC_INVALID)
        self.training.forget(key)

    async def _tell(
        self, key: Key, raw: Object, resource: Resource, decision: AnyPlan, now: datetime, *, mended: bool
    ) -> None:
        if decision.status != resource.status or "status" not in raw or mended:
            await self._write(raw, decision.status.to_json())
            log.info("%s: %s", decision.status.phase, _sentence(decision))
            for dependent in self.dependents.of(key):
                self.dependents.enqueue(dependent)
        await self._post(key, raw, decision.events, now)
        stalled = find(decision.status.conditions, c.STALLED)
        over = not isinstance(resource, ModelServe) and decision.status.phase == "Failed"
        waits_for_a_person = stalled is not None and stalled.status == "True" and not over
        self.summary.set(key, decision.status.phase, stalled.reason if stalled and waits_for_a_person else None)
        self.training.set(key, decision.status)

    async def _write(self, raw: Object, status: dict[str, Any]) -> None:
        """Write a status. It is refused when the resource has changed since it was read: then all is decided anew."""
        meta = raw["metadata"]
        body = {
            "apiVersion": API_VERSION,
            "kind": raw["kind"],
            "metadata": {
                "name": meta["name"],
                "namespace": meta["namespace"],
                "resourceVersion": meta["resourceVersion"],
            },
            "status": status,
        }
        await self.api.apply(body, force=True, subresource="status")

    async def _post(self, key: Key, raw: Object, told: tuple[Event, ...], now: datetime) -> None:
        for event in told:
            await events.post(self.api, key, raw["metadata"]["uid"], event, now)


def _refused(body: Object, error: ApiError) -> Exception:
    """Return what an API server's refusal of an object means: for its resource, or for the operator."""
    what = f"{body['kind']} {body['metadata']['name']}"
    if error.code == 403 and "exceeded quota" in error.message:
        return RefusedError(Situation("working", c.QUOTA_EXCEEDED, f"{what}: {error.message}"))
    if error.code in {400, 422} or UNTYPED in error.message:
        return RefusedError(Situation("blocked", c.OBJECT_REFUSED, f"{what} is refused: {error.message}"))
    return error


def _sentence(decision: AnyPlan | Plan[Any]) -> str:
    told = find(decision.status.conditions, c.RECONCILING)
    return told.message if told else ""
