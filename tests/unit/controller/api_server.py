"""As much of an API server as a reconciliation needs: objects by path, server-side apply, watches, deletion."""

import asyncio
import json
from typing import Any

from aiohttp import web

Object = dict[str, Any]


class ApiServer:
    """Keeps objects by their path and notes every change. Deleted in the foreground, they are there until `gone`."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.changes: list[tuple[str, str, Object]] = []
        self.asked: list[tuple[str, str]] = []
        self._events: list[tuple[str, Object]] = []
        self._changed = asyncio.Event()

    def application(self) -> web.Application:
        served = web.Application()
        served.router.add_route("*", "/{path:.*}", self._answer)
        return served

    def put(self, path: str, body: Object) -> None:
        """Keep an object and tell who watches."""
        event = "MODIFIED" if path in self.objects else "ADDED"
        self._events.append((event, body))
        meta = body["metadata"]
        meta |= {"resourceVersion": str(len(self._events)), "uid": meta.get("uid", f"uid-{path}")}
        self.objects[path] = body
        self._wake()

    def gone(self, path: str) -> None:
        """Forget an object and tell who watches."""
        self._events.append(("DELETED", self.objects.pop(path)))
        self._wake()

    def made(self, verb: str) -> list[str]:
        """Return the names of the paths that a verb was used on, in order."""
        return [path.rpartition("v1/")[2] for each, path, _ in self.changes if each == verb]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            return await self._watch(request)
        path, verb = request.path.removesuffix("/status"), request.method
        body: Object = json.loads(await request.read() or b"{}")
        self.asked.append((verb, path))
        if verb != "GET":
            self.changes.append((verb, request.path, body))
        match verb:
            case "GET" if path in self.objects:
                return web.json_response(self.objects[path])
            case "GET" if path.rpartition("/")[2] in {"events", "jobs", "pods", "configmaps", "services"} or (
                path.endswith(("deployments", "statefulsets"))
            ):
                plural = path.rpartition("/")[2]
                found = [each for name, each in self.objects.items() if f"/{plural}/" in name]
                return web.json_response({"metadata": {"resourceVersion": str(len(self._events))}, "items": found})
            case "POST":
                name = f"{path}/{body['metadata']['name']}"
                if name in self.objects:
                    return _refused(409, "AlreadyExists")
                self.put(name, body)
            case "PATCH":
                there = self.objects.get(path, {})
                if there.get("immutable") and there.get("data") != body.get("data"):
                    return _refused(422, "field is immutable when `immutable` is set")
                merged = {**there, **body, "metadata": {**there.get("metadata", {}), **body.get("metadata", {})}}
                self.put(path, json.loads(json.dumps(merged)))
            case "DELETE" if path in self.objects:
                there = self.objects[path]
                if body.get("propagationPolicy") == "Foreground":
                    there = {**there, "metadata": {**there["metadata"], "deletionTimestamp": "2026-11-21T12:00:30Z"}}
                    self.put(path, there)
                else:
                    self.gone(path)
            case _:
                return _refused(404, "NotFound")
        return web.json_response({"metadata": {}})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        plural, seen = request.path.rpartition("/")[2], int(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            changed = self._changed
            for kind, each in self._events[seen:]:
                if each["kind"].lower() + "s" == plural:
                    await response.write(json.dumps({"type": kind, "object": each}).encode() + b"\n")
            seen = len(self._events)
            await changed.wait()


def _refused(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": message, "message": message}, status=code)
