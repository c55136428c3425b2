"""The operator: kopf watches our kinds, workers empty the queue, and all of it ends together."""

import asyncio
import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import kopf
from aiohttp import web
from kopf._core.engines.peering import Identity
from kubernetes.aio.client import ApiClient

from tunesmith_api.base import GROUP, VERSION
from tunesmith_api.resources import PLURALS
from tunesmith_operator.backends import native
from tunesmith_operator.backends.kuberay import Offer
from tunesmith_operator.controller import logs, metrics, preflight
from tunesmith_operator.controller.client import Api, ApiError, UnreachableError
from tunesmith_operator.controller.dependents import Dependents
from tunesmith_operator.controller.election import Lease, lead
from tunesmith_operator.controller.guests import KubeRay
from tunesmith_operator.controller.health import Health, application
from tunesmith_operator.controller.hearing import DeafError, until_ended
from tunesmith_operator.controller.queue import WorkQueue
from tunesmith_operator.controller.reconciler import Reconciler
from tunesmith_operator.controller.summary import Summary
from tunesmith_operator.controller.world import Key, World

log = logging.getLogger(__name__)

PREFLIGHT_SECONDS = 5.0
CHECK_SECONDS = 30.0
# Checks of the kinds between two of the rights.
RIGHTS_EVERY = 20


@dataclass(frozen=True)
class Options:
    """How the operator runs. No namespace means all of them; no lease means that nobody else runs."""

    backend: native.Settings
    namespaces: tuple[str, ...] = ()
    concurrency: int = 8
    resync_seconds: float = 600.0
    port: int = 8080
    lease: Lease | None = None


class Operator:
    """All parts of the operator around one queue."""

    def __init__(self, client: ApiClient, options: Options) -> None:
        self._client = client
        self._options = options
        self._api = Api(client)
        self._queue: WorkQueue[Key] = WorkQueue(time.monotonic)
        self._health = Health(self._queue)
        self._told_to_stop = False
        uses_kuberay, gangs = options.backend.backend != "native", options.backend.gangs
        self._rights = preflight.needed(
            kuberay=uses_kuberay,
            gangs=gangs,
            task_code=options.backend.allow_task_code,
            gateway_api=options.backend.gateway_api,
        )
        self._world = World(self._api, options.namespaces, self._queue.add, kuberay=uses_kuberay, gangs=gangs)
        self._kuberay = KubeRay(self._api, options.namespaces) if uses_kuberay else None
        self._reconciler = Reconciler(
            self._api,
            self._world,
            options.backend,
            Dependents(self._queue.add),
            Summary(),
            kuberay=lambda: self._kuberay.offer if self._kuberay else Offer(),
        )

    async def run(self) -> bool:
        """Serve probes, wait for what is needed and for the lease, then work.

        Returns True when it was told to stop by a signal, and False when the lease is lost.
        """
        told = asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            # Until kopf runs: it has handlers of its own for the same signals.
            asyncio.get_running_loop().add_signal_handler(each, told.set)
        life, end = asyncio.create_task(self._live()), asyncio.create_task(told.wait())
        done, _ = await asyncio.wait({life, end}, return_when=asyncio.FIRST_COMPLETED)
        if life in done:
            end.cancel()
            return life.result()
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        return True

    async def _live(self) -> bool:
        runner = web.AppRunner(application(self._health), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, port=self._options.port).start()
            await self._wait_for_the_cluster()
            if self._options.lease is None:
                await self._work()
            else:
                self._health.standing_by = True
                await lead(self._client, self._options.lease, self._work)
            return self._told_to_stop
        finally:
            await runner.cleanup()

    async def _wait_for_the_cluster(self) -> None:
        """Return as soon as the cluster has what is needed; until then say what it lacks."""
        while sentences := await self._lacking():
            self._say(sentences)
            await asyncio.sleep(PREFLIGHT_SECONDS)
        self._say([])

    async def _lacking(self) -> list[str]:
        try:
            return await preflight.missing(self._api, self._options.namespaces, self._rights)
        except (ApiError, UnreachableError) as error:
            return [str(error)]

    def _say(self, sentences: list[str]) -> None:
        if sentences != self._health.waits_for:
            for sentence in sentences:
                log.error("%s", sentence)
            if not sentences:
                log.info("the cluster has what is needed")
        self._health.waits_for = sentences

    async def _work(self) -> None:
        """Do the operator's work until kopf is told to stop."""
        self._health.standing_by = False
        log.info("at work in %s", ", ".join(self._options.namespaces) or "all namespaces")
        parts: list[Coroutine[Any, Any, None]] = [self._world.run(), self._resync(), self._check()]
        parts += [self._kuberay.run()] if self._kuberay else []
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            await self._world.synced()
            if self._kuberay:
                await self._kuberay.seen.wait()
            metrics.MAX_WORKERS.set(self._options.concurrency)
            tasks += [asyncio.create_task(self._worker()) for _ in range(self._options.concurrency)]
            watcher = asyncio.create_task(self._watch())
            done, _ = await asyncio.wait([watcher, *tasks], return_when=asyncio.FIRST_COMPLETED)
            with suppress(DeafError):
                for task in done:
                    task.result()
                self._told_to_stop = watcher in done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """Let kopf watch our kinds. Its handlers do one thing: they put the key into the queue."""
        registry = kopf.OperatorRegistry()
        for kind, plural in PLURALS.items():
            kopf.on.event(GROUP, VERSION, plural, registry=registry, id=plural)(self._enqueues(kind))

        @kopf.on.login(registry=registry)
        def login(**kwargs: Any) -> Any:
            return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.peering.standalone = True
        settings.scanning.disabled = True
        while True:
            try:
                watches = kopf.operator(
                    registry=registry,
                    settings=settings,
                    # Without one kopf asks for the name of the user, whom a container does not know.
                    identity=Identity(metrics.QUEUE),
                    standalone=True,
                    clusterwide=not self._options.namespaces,
                    namespaces=self._options.namespaces,
                )
                await until_ended(asyncio.create_task(watches))
            except DeafError:
                log.error("kopf has stopped to watch and does not end; the operator ends, to be started again")
                # Should kopf's tasks keep even the process.
                threading.Timer(PREFLIGHT_SECONDS, os._exit, (1,)).start()
                raise
            except Exception as error:
                # kopf gives up on an API server that is away for long; the operator does not.
                log.error("kopf's watch ended: %s; starting it again in %.0f s", error, PREFLIGHT_SECONDS)
                await asyncio.sleep(PREFLIGHT_SECONDS)
            else:
                return

    def _enqueues(self, kind: str) -> Any:
        async def handler(namespace: str | None, name: str | None, **_: Any) -> None:
            self._queue.add(Key(kind, namespace or "", name or ""))

        return handler

    async def _worker(self) -> None:
        while True:
            key = await self._queue.get()
            metrics.ACTIVE_WORKERS.inc()
            try:
                await self._reconcile(key)
            finally:
                metrics.ACTIVE_WORKERS.dec()
                self._queue.done(key)

    async def _reconcile(self, key: Key) -> None:
        token = logs.current.set(str(key))
        began, result = time.monotonic(), "success"
        try:
            again = await self._reconciler.reconcile(key)
            self._queue.succeeded(key)
            if again is not None:
                result = "requeue_after"
                self._queue.add_after(key, max(again, 0.1))
        except ApiError as error:
            result = "error"
            pause = self._queue.retry(key)
            if error.code in {404, 409} or "is being terminated" in error.message:
                log.debug("changed meanwhile; looking again in %.1f s: %s", pause, error)
            else:
                log.error("the API server refuses: %s; trying again in %.0f s", error, pause)
        except UnreachableError as error:
            result = "error"
            log.debug("%s; trying again in %.0f s", error, self._queue.retry(key))
        except Exception:
            # One resource must not end the work on all the others.
            result = "error"
            log.exception("unexpected error; trying again in %.0f s", self._queue.retry(key))
        finally:
            metrics.RECONCILED.labels(key.kind, result).inc()
            metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - began)
            if result == "error":
                metrics.RECONCILE_ERRORS.labels(key.kind).inc()
            logs.current.reset(token)

    async def _resync(self) -> None:
        """Now and then look at everything, in case something was missed."""
        while True:
            await asyncio.sleep(self._options.resync_seconds)
            for kind in PLURALS:
                for namespace in self._options.namespaces or [None]:
                    try:
                        objects, _ = await self._api.list_all(kind, namespace, version="0")
                    except (ApiError, UnreachableError) as error:
                        log.warning("cannot list %s: %s", kind, error)
                        continue
                    for each in objects:
                        self._queue.add(Key(kind, each["metadata"]["namespace"], each["metadata"]["name"]))

    async def _check(self) -> None:
        """Notice when the cluster loses what is needed, and when it has it again.

        The kinds are one request; the rights are many, and are asked for only now and then as long as all is well.
        """
        for number in itertools.count(1):
            await asyncio.sleep(CHECK_SECONDS)
            if self._health.waits_for or number % RIGHTS_EVERY == 0:
                self._say(await self._lacking())
            else:
                self._say(await self._lacking_kinds())

    async def _lacking_kinds(self) -> list[str]:
        try:
            sentence = await preflight.missing_kinds(self._api)
        except (ApiError, UnreachableError) as error:
            return [str(error)]
        return [sentence] if sentence else []
