"""Routes in a cluster: a ConfigMap of the pod's namespace, watched."""

import asyncio
import json
import os
import random
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tunesmith_api.contract import ROUTES_KEY
from tunesmith_runtime.kubernetes_progress import SERVICE_ACCOUNT
from tunesmith_runtime.serve.following import Take
from tunesmith_runtime.serve.gateway.logs import Say, say

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
REQUEST_SECONDS = 10.0
# The API server ends a watch after so long; then all is read again, with new credentials.
WATCH_SECONDS = 60


class GoneError(Exception):
    """The API server no longer knows what has changed since."""


class WatchedRoutes:
    """Hands on the routes of a ConfigMap, and each change of them, until cancelled.

    What goes wrong is said once and tried again; what was handed on last stays.
    """

    def __init__(self, name: str, take: Take, *, account: Path = SERVICE_ACCOUNT, log: Say = say) -> None:
        self._name = name
        self._take = take
        self._account = account
        self._log = log
        self._said = ""

    async def follow(self) -> None:
        """Read, watch, and begin again when the watch has lost its place."""
        pause = 0.0
        while True:
            began = time.monotonic()
            try:
                async with self._session() as session:
                    await self._watch(session, await self._read(session))
            except GoneError:
                pass
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as error:
                self._complain(error)
            lasted = time.monotonic() - began
            pause = (
                min(2 * pause, LONGEST_PAUSE_SECONDS)
                if pause and lasted < LONGEST_PAUSE_SECONDS
                else FIRST_PAUSE_SECONDS
            )
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - so that not all come at once

    def _session(self) -> aiohttp.ClientSession:
        # The credentials are read each time: Kubernetes renews them.
        token = (self._account / "token").read_text().strip()
        context = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, connector=aiohttp.TCPConnector(ssl=context), trust_env=False
        )

    async def _read(self, session: aiohttp.ClientSession) -> str:
        """Take the ConfigMap as it is; return the version that a watch goes on from."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        async with session.get(self._url(), params=self._selected(), timeout=timeout) as response:
            response.raise_for_status()
            found = await response.json()
        for each in found["items"]:
            self._take_from(each)
        if not found["items"]:
            self._say(f"there is no ConfigMap {self._name} with routes yet; waiting for it")
        return str(found["metadata"]["resourceVersion"])

    async def _watch(self, session: aiohttp.ClientSession, version: str) -> None:
        """Take each change until the API server ends the watch."""
        selected = self._selected() | {
            "watch": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=REQUEST_SECONDS, sock_read=WATCH_SECONDS + REQUEST_SECONDS
        )
        async with session.get(self._url(), params=selected, timeout=timeout) as response:
            if response.status == 410:
                raise GoneError
            response.raise_for_status()
            async for event in _lines(response.content):
                changed = event["object"]
                if event["type"] == "ERROR":
                    if changed.get("code") == 410:
                        raise GoneError
                    raise ValueError(str(changed.get("message")))
                if event["type"] == "DELETED":
                    self._say(f"the ConfigMap {self._name} with the routes has been deleted; going on by the last ones")
                else:
                    self._take_from(changed)

    def _take_from(self, config_map: Any) -> None:
        document = (config_map.get("data") or {}).get(ROUTES_KEY)
        if document is None:
            self._say(f"the ConfigMap {self._name} has no {ROUTES_KEY}")
            return
        self._said = ""
        self._take(document.encode())

    def _url(self) -> str:
        namespace = (self._account / "namespace").read_text().strip()
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        host = f"[{host}]" if ":" in host else host
        return f"https://{host}:{port}/api/v1/namespaces/{namespace}/configmaps"

    def _selected(self) -> dict[str, str]:
        return {"fieldSelector": f"metadata.name={self._name}"}

    def _complain(self, error: Exception) -> None:
        if isinstance(error, aiohttp.ClientResponseError) and error.status in {401, 403}:
            self._say(
                f"the routes cannot be read: the pod's ServiceAccount may not list and watch the ConfigMap "
                f"{self._name} ({error.status} {error.message}); its Role must allow get, list and watch"
            )
        elif isinstance(error, KeyError):
            self._say(f"the routes cannot be read: ${error.args[0]} is not set")
        else:
            self._say(f"the routes cannot be read for now, trying again: {type(error).__name__}: {error}")

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._log(sentence)
        self._said = sentence


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[Any]:
    """Yield the JSON values of a watch; a line may be as large as a ConfigMap, which readline() refuses."""
    rest = b""
    async for part in content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
