"""One resource, reconciled again and again, against a small API server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

from tests.builders import EVAL_JOB_SPEC, FINE_TUNE_JOB_SPEC, manifest
from tests.unit.controller.api_server import ApiServer, Object
from tunesmith_operator.backends.native import Settings
from tunesmith_operator.controller.client import Api
from tunesmith_operator.controller.dependents import Dependents
from tunesmith_operator.controller.reconciler import Reconciler
from tunesmith_operator.controller.summary import Summary
from tunesmith_operator.controller.world import Key, World

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BOT_KEY = Key("FineTuneJob", "here", "bot")
BOT = "/apis/tunesmith.dev/v1alpha1/namespaces/here/finetunejobs/bot"
JOB = "/apis/batch/v1/namespaces/here/jobs/bot-a{}"
CONFIG = "/api/v1/namespaces/here/configmaps/bot-a1"


class Cluster:
    """The API server, an operator of one resource, and its clock."""

    def __init__(self, server: ApiServer, api: Api, world: World) -> None:
        self.server = server
        self.now = NOW
        self.world = world
        self._reconciler = Reconciler(
            api,
            world,
            Settings(image="runtime:1", backend="native"),
            Dependents(lambda _: None),
            Summary(),
            now=lambda: self.now,
        )

    def apply(self, **spec: Any) -> None:
        there = self.server.objects.get(BOT, {})
        body = manifest("FineTuneJob", "bot", {**FINE_TUNE_JOB_SPEC, **spec}, namespace="here")
        body["metadata"]["uid"] = "uid-bot"
        self.server.put(BOT, body | ({"status": there["status"]} if "status" in there else {}))

    async def reconcile(self, key: Key = BOT_KEY) -> float | None:
        return await self._reconciler.reconcile(key)

    def status(self) -> Object:
        return dict(self.server.objects[BOT].get("status", {}))

    async def mirrored(self, *jobs: str, ending: bool = False) -> None:
        """Wait until the operator's mirror has these Jobs and no others."""

        def there() -> list[str]:
            found = self.world.children_of("uid-bot").values()
            marked = [each for each in found if each.job and ending == ("deletionTimestamp" in each.job["metadata"])]
            return sorted(each.name for each in marked)

        deadline = time.monotonic() + 10
        while there() != sorted(jobs):
            assert time.monotonic() < deadline, there()
            await asyncio.sleep(0.01)

    def started(self, number: int = 1) -> None:
        """Let the pod of an attempt run."""
        labels = self.server.objects[JOB.format(number)]["metadata"]["labels"]
        state = {"running": {"startedAt": "2026-11-21T11:59:00Z"}}
        status = {"phase": "Running", "containerStatuses": [{"image": "runtime:1", "state": state}]}
        metadata = {"name": f"bot-a{number}-x", "namespace": "here", "labels": labels}
        body = {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "node-a"}, "status": status}
        self.server.put(f"/api/v1/namespaces/here/pods/bot-a{number}-x", body)

    def gone(self, number: int = 1) -> None:
        """Let an attempt end: its pod first, then its Job."""
        self.server.gone(f"/api/v1/namespaces/here/pods/bot-a{number}-x")
        self.server.gone(JOB.format(number))


def on_a_cluster(story: Callable[[Cluster], Awaitable[None]]) -> None:
    async def run() -> None:
        server = ApiServer()
        async with TestServer(server.application()) as served:
            client = ApiClient(Configuration(host=str(served.make_url("")).rstrip("/")))
            world = World(api := Api(client), (), lambda _: None)
            mirrors = asyncio.create_task(world.run())
            try:
                await world.synced()
                await story(Cluster(server, api, world))
            finally:
                mirrors.cancel()
                await asyncio.gather(mirrors, return_exceptions=True)
                await client.close()

    asyncio.run(run())


async def running(cluster: Cluster, **spec: Any) -> None:
    cluster.apply(**spec)
    await cluster.reconcile()
    await cluster.mirrored("bot-a1")
    cluster.started()
    await asyncio.sleep(0.05)
    await cluster.reconcile()
    assert cluster.status()["attempts"][0]["nodes"] == ["node-a"]


def test_a_run_of_an_evaluation_that_repeats_is_created_once_and_owned() -> None:
    async def story(cluster: Cluster) -> None:
        root = "/apis/tunesmith.dev/v1alpha1/namespaces/here/evaljobs"
        body = manifest("EvalJob", "nightly", {**EVAL_JOB_SPEC, "schedule": "0 * * * *"}, namespace="here")
        body["metadata"] |= {"uid": "uid-nightly", "creationTimestamp": NOW.isoformat()}
        cluster.server.put(f"{root}/nightly", body)
        cluster.now = NOW + timedelta(hours=1)

        await cluster.reconcile(Key("EvalJob", "here", "nightly"))

        run = cluster.server.objects[f"{root}/nightly-r1"]
        assert run["metadata"]["ownerReferences"][0]["uid"] == "uid-nightly"
        assert run["metadata"]["labels"]["tunesmith.dev/run-of"] == "nightly"
        assert "schedule" not in run["spec"]
        cluster.server.changes.clear()
        await cluster.reconcile(Key("EvalJob", "here", "nightly"))
        assert cluster.server.made("POST") == []

    on_a_cluster(story)


def test_suspended_it_waits_until_the_pods_are_gone() -> None:
    async def story(cluster: Cluster) -> None:
        await running(cluster)
        cluster.server.changes.clear()
        cluster.apply(runPolicy={"suspend": True})

        await cluster.reconcile()

        # Why it is stopped is written down first.
        paths = [path for verb, path, _ in cluster.server.changes if verb == "DELETE" or path.endswith("/status")]
        assert paths == [f"{BOT}/status", JOB.format(1)]
        assert cluster.status()["attempts"][0]["stopping"] == "Suspended"

        cluster.apply(runPolicy={"suspend": False})
        await cluster.mirrored("bot-a1", ending=True)
        await cluster.reconcile()
        assert JOB.format(2) not in cluster.server.objects

        cluster.gone()
        await cluster.mirrored()
        await cluster.reconcile()
        assert JOB.format(2) in cluster.server.objects
        assert [each.get("reason") for each in cluster.status()["attempts"]] == ["Suspended", None]

    on_a_cluster(story)


def test_what_the_mirror_has_lost_is_asked_for_before_it_is_taken_for_gone() -> None:
    async def story(cluster: Cluster) -> None:
        await running(cluster)
        job = cluster.server.objects[JOB.format(1)]
        cluster.server.gone(JOB.format(1))
        await cluster.mirrored()
        cluster.server.objects[JOB.format(1)] = job  # it is there, and nobody has told the mirror

        await cluster.reconcile()

        assert cluster.status()["phase"] == "Running"
        assert "endedAt" not in cluster.status()["attempts"][0]

    on_a_cluster(story)


def test_a_deleted_job_is_followed_by_an_attempt_of_another_name() -> None:
    async def story(cluster: Cluster) -> None:
        await running(cluster)
        cluster.gone()
        await cluster.mirrored()

        await cluster.reconcile()
        assert (cluster.status()["phase"], cluster.status()["attempts"][0]["reason"]) == ("Recovering", "Vanished")
        cluster.now += timedelta(seconds=10)
        await cluster.reconcile()
        assert JOB.format(2) in cluster.server.objects
        assert JOB.format(1) not in cluster.server.objects

    on_a_cluster(story)


def test_a_start_that_came_to_nothing_is_begun_anew_with_the_spec_as_it_is() -> None:
    async def story(cluster: Cluster) -> None:
        cluster.apply()
        await cluster.reconcile()
        await cluster.mirrored("bot-a1")
        cluster.server.gone(JOB.format(1))  # as if the quota had had no room for it
        await cluster.mirrored()
        before = cluster.server.objects[CONFIG]["data"]

        cluster.apply(runPolicy={"maxFailures": 9})
        await cluster.reconcile()

        assert cluster.server.objects[CONFIG]["data"] != before
        assert JOB.format(1) in cluster.server.objects

    on_a_cluster(story)


def test_a_lost_status_starts_nothing_beside_what_runs() -> None:
    async def story(cluster: Cluster) -> None:
        await running(cluster)
        cluster.server.objects[BOT].pop("status")

        await cluster.reconcile()

        assert [each["number"] for each in cluster.status()["attempts"]] == [1]
        assert [path for path in cluster.server.objects if "/jobs/" in path] == [JOB.format(1)]

    on_a_cluster(story)


def test_a_status_that_makes_no_sense_is_put_right() -> None:
    async def story(cluster: Cluster) -> None:
        await running(cluster)
        cluster.server.objects[BOT]["status"] |= {"phase": "Confused", "attempts": [{"number": -1}], "gpuHours": "many"}

        await cluster.reconcile()

        assert cluster.status()["phase"] == "Running"
        assert [each["number"] for each in cluster.status()["attempts"]] == [1]

    on_a_cluster(story)


def test_what_has_ended_is_deleted_in_time_and_nothing_else_of_that_name() -> None:
    async def story(cluster: Cluster) -> None:
        policy = {"maxAttempts": 1, "ttlSecondsAfterFinished": 600}
        await running(cluster, runPolicy=policy)
        cluster.gone()
        await cluster.mirrored()
        await cluster.reconcile()
        assert cluster.status()["phase"] == "Failed"

        assert await cluster.reconcile() == 600
        cluster.now += timedelta(seconds=600)
        await cluster.reconcile()

        assert BOT not in cluster.server.objects
        (_, _, options) = cluster.server.changes[-1]
        assert options["preconditions"] == {"uid": "uid-bot"}

    on_a_cluster(story)


def test_a_job_that_runs_is_not_touched() -> None:
    async def story(cluster: Cluster) -> None:
        await running(cluster)
        cluster.server.changes.clear()

        cluster.apply(runPolicy={"gracePeriodSeconds": 300}, podTemplate={"image": "runtime:2"})
        await cluster.reconcile()

        assert [path for _, path, _ in cluster.server.changes if not path.startswith(BOT)] == []

    on_a_cluster(story)


def test_the_page_on_which_people_vote_has_a_service_for_as_long_as_the_attempt() -> None:
    async def story(cluster: Cluster) -> None:
        key, service = Key("EvalJob", "here", "bot"), "/api/v1/namespaces/here/services/rating-bot-e1"
        model = {"uri": "pvc://models/bot"}
        people = [{"name": "people", "human": {"uri": "pvc://data/questions.jsonl"}}]
        spec = {**EVAL_JOB_SPEC, "target": model, "baseline": model, "suites": people, "runPolicy": {"maxAttempts": 1}}
        body = manifest("EvalJob", "bot", spec, namespace="here")
        body["metadata"]["uid"] = "uid-bot"
        cluster.server.put("/apis/tunesmith.dev/v1alpha1/namespaces/here/evaljobs/bot", body)

        await cluster.reconcile(key)
        assert service in cluster.server.objects
        await cluster.mirrored("bot-e1")
        await cluster.reconcile(key)
        assert service in cluster.server.objects

        path = "/apis/batch/v1/namespaces/here/jobs/bot-e1"
        failed = {"type": "Failed", "status": "True", "message": "it has crashed"}
        cluster.server.put(path, cluster.server.objects[path] | {"status": {"conditions": [failed]}})
        deadline = time.monotonic() + 10
        while service in cluster.server.objects:
            assert time.monotonic() < deadline
            await cluster.reconcile(key)
            await asyncio.sleep(0.01)
        assert path in cluster.server.objects, "its pod's log stays"

    on_a_cluster(story)
