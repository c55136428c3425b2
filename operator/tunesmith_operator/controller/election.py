"""One leader at a time, by a Lease: the others stand by, and who loses it ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection import electionconfig, leaderelection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from tunesmith_operator.controller import metrics

log = logging.getLogger(__name__)

LEASE_SECONDS = 15
RENEW_SECONDS = 10
RETRY_SECONDS = 2

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class Lease:
    """The Lease that the leader holds, and who asks for it."""

    name: str
    namespace: str
    identity: str


class _PatientLock(LeaseLock):
    """A lock that counts an API server that does not answer as a refusal, to be tried again until the lease is out."""

    async def get(self, name: str, namespace: str) -> Any:
        try:
            return await _answered(super().get(name, namespace))
        except ApiException as error:
            return False, error

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        # The library's own `create` sends a query that its generated client refuses (37.0.1).
        lease = V1Lease(metadata=V1ObjectMeta(name=name, namespace=namespace), spec=self.update_lease(election_record))
        return await self._tried(self._create(namespace, lease))

    async def _create(self, namespace: str, lease: V1Lease) -> bool:
        await self.api_instance.create_namespaced_lease(namespace, lease)
        return True

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        return await self._tried(super().update(name, namespace, updated_record))

    async def release(self) -> None:
        """Give the lease back, so that the next leader need not wait until it is out."""
        held, _ = await self.get(self.name, self.namespace)
        if held and self.lease_reference.spec.holder_identity == self.identity:
            self.lease_reference.spec.holder_identity = None
            replaced = self.api_instance.replace_namespaced_lease(self.name, self.namespace, self.lease_reference)
            await self._tried(_done(replaced))

    async def _tried(self, request: Coroutine[Any, Any, bool]) -> bool:
        try:
            return await _answered(request)
        except ApiException as error:
            log.warning("the Lease cannot be written: %s", error.reason)
            return False


async def _done(request: Awaitable[Any]) -> bool:
    await request
    return True


async def _answered(request: Awaitable[AnswerT]) -> AnswerT:
    try:
        return await asyncio.wait_for(request, RETRY_SECONDS)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        reason = f"the API server does not answer: {error or type(error).__name__}"
        raise ApiException(status=0, reason=reason) from error


async def lead(client: ApiClient, lease: Lease, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Wait until this process leads, then do `work`, and return when the work has ended or the lease is lost.

    The caller must end the process then: somebody else may lead already.
    """
    metrics.LEADER.labels(lease.name).set(0)
    ended = asyncio.Event()

    async def work_as_leader() -> None:
        metrics.LEADER.labels(lease.name).set(1)
        try:
            await work()
        finally:
            metrics.LEADER.labels(lease.name).set(0)
            ended.set()

    async def lost() -> None:
        log.error("the Lease %s/%s is lost: another replica may lead now", lease.namespace, lease.name)

    lock = _PatientLock(lease.name, lease.namespace, lease.identity, client)
    election = leaderelection.LeaderElection(
        electionconfig.Config(
            lock,
            lease_duration=LEASE_SECONDS,
            renew_deadline=RENEW_SECONDS,
            retry_period=RETRY_SECONDS,
            onstarted_leading=work_as_leader,
            onstopped_leading=lost,
        )
    )
    campaign = asyncio.create_task(election.run())
    finished = asyncio.create_task(ended.wait())
    done, _ = await asyncio.wait({campaign, finished}, return_when=asyncio.FIRST_COMPLETED)
    campaign.cancel()
    finished.cancel()
    for task in done:
        task.result()
    if finished in done:
        await lock.release()
