"""Kinds of others are mirrored where a server has them, and nobody waits for those that it does not have."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from kubernetes.aio.client import ApiClient, Configuration

from tests.crds.server import HARNESS, Object, Server
from tests.crds.test_kuberay import path, ray, ray_job
from tunesmith_operator.controller.client import Api
from tunesmith_operator.controller.guests import Guest, KubeRay
from tunesmith_operator.controller.reflector import RAY_JOBS, Reflector

__all__ = ["ray"]
SECONDS = 20


@asynccontextmanager
async def api_of(server: Server) -> AsyncIterator[Api]:
    """Yield the operator's own client, as an administrator."""
    configuration = Configuration(host=server.address)
    configuration.ssl_ca_cert = str(HARNESS / "pki" / "ca.crt")
    configuration.cert_file = str(HARNESS / "pki" / "admin.crt")
    configuration.key_file = str(HARNESS / "pki" / "admin.key")
    async with ApiClient(configuration) as client:
        yield Api(client)


def mirror(api: Api, changed: Callable[[Object], None]) -> Callable[[str], list[Reflector]]:
    return lambda kind: [Reflector(api, kind, None, RAY_JOBS, changed)]


def test_ray_jobs_are_mirrored(ray: Server) -> None:
    body = ray_job(name=f"bot-{uuid4().hex[:8]}")

    async def story() -> None:
        seen: asyncio.Queue[str] = asyncio.Queue()
        async with api_of(ray) as api, asyncio.timeout(SECONDS):
            guest = Guest(api, ("RayJob",), mirror(api, lambda each: seen.put_nowait(each["metadata"]["name"])))
            task = asyncio.create_task(guest.run())
            await guest.settled.wait()

            await api.apply(body, force=False)
            while await seen.get() != body["metadata"]["name"]:
                pass
            (found,) = guest.reflectors[0].owned_by(body["metadata"]["labels"]["tunesmith.dev/owner-uid"])

            assert found["kind"] == "RayJob"
            assert found["spec"]["backoffLimit"] == 0
            await api.delete("RayJob", "default", body["metadata"]["name"])
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
    # Deleted in the foreground; this server has nobody who deletes the pods and takes the finalizer away.
    left = [each["metadata"] for each in ray.send("GET", path("v1")).body["items"]]
    assert all("deletionTimestamp" in each for each in left if each["name"] == body["metadata"]["name"])


def test_a_kind_that_is_not_served_keeps_nobody_waiting(server: Server) -> None:
    async def story() -> None:
        async with api_of(server) as api, asyncio.timeout(SECONDS):
            guest = Guest(api, ("VolcanoPodGroup",), mirror(api, lambda _: None))
            task = asyncio.create_task(guest.run())
            await guest.settled.wait()
            assert list(guest.reflectors) == []
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())


def test_an_api_without_an_operator_is_not_all_of_kuberay(ray: Server) -> None:
    async def story() -> None:
        async with api_of(ray) as api, asyncio.timeout(SECONDS):
            kuberay = KubeRay(api, ())
            task = asyncio.create_task(kuberay.run())
            await kuberay.seen.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            offer = kuberay.offer
            # RayCronJobs, which 1.6 brought, are not loaded here; and nobody serves Deployments.
            assert (offer.served, offer.recent, offer.answers) == (True, False, False)

    asyncio.run(story())
