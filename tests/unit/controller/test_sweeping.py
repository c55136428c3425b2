"""What is left of a server's workload once its pods are gone."""

import asyncio
from typing import Any

from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

from tests.unit.controller.api_server import ApiServer, Object
from tunesmith_operator.backends.children import Children
from tunesmith_operator.controller.client import RESOURCES, Api
from tunesmith_operator.controller.sweeping import left, sweep

OURS = {"tunesmith.dev/owner-uid": "uid-bot"}


def made(kind: str, name: str, labels: dict[str, str], **body: Any) -> Object:
    return {"kind": kind, "metadata": {"name": name, "namespace": "here", "labels": labels}, **body}


def test_a_server_whose_pods_are_gone_leaves_nothing_and_others_keep_theirs() -> None:
    progress = made("ConfigMap", "bot-v1-progress", OURS)
    ours = [
        made("Role", "bot-v1", OURS),
        made("RoleBinding", "bot-v1", OURS),
        made("ConfigMap", "bot-v1", OURS),
        made("ConfigMap", "bot-v1-adapters", OURS),
        progress,
    ]
    others = [
        made("ServiceAccount", "bot-v1", {}),  # somebody's own, of that name
        made("ConfigMap", "bot-v2", OURS),
        made("ConfigMap", "bot-v1-routes", {"tunesmith.dev/owner-uid": "uid-other"}),
    ]

    def path(each: Object) -> str:
        meta = each["metadata"]
        return RESOURCES[each["kind"]].path(meta["namespace"], meta["name"])

    async def run() -> tuple[set[str], str]:
        server = ApiServer()
        for each in (*ours, *others):
            server.put(path(each), each)
        async with TestServer(server.application()) as served:
            client = ApiClient(Configuration(host=str(served.make_url("")).rstrip("/")))
            try:
                await sweep(Api(client), Children("bot-v1", progress=progress))
            finally:
                await client.close()
        return set(server.objects), server.made("DELETE")[-1]

    stay, last = asyncio.run(run())
    assert stay == {path(each) for each in others}
    assert last.endswith("configmaps/bot-v1-progress"), "as long as that is there, it is begun anew"


def test_what_has_pods_or_is_wanted_is_left_alone() -> None:
    progress, pod = made("ConfigMap", "x", OURS), made("Pod", "x", OURS)
    children = {
        "gone": Children("gone", progress=progress),
        "wanted": Children("wanted", progress=progress),
        "deployed": Children("deployed", progress=progress, deployment=made("Deployment", "x", OURS)),
        "ending": Children("ending", progress=progress, pods=[pod]),
        "bot-front": Children("bot-front"),
    }
    assert [each.name for each in left(children, {"wanted"})] == ["gone"]
