"""The progress document of a run in a cluster: kept in a ConfigMap as well, by nothing but HTTP."""

import http.client
import json
import os
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType

from tunesmith_api.contract import (
    PROGRESS_CONFIG_MAP_VARIABLE,
    PROGRESS_KEY,
    PROGRESS_KEY_VARIABLE,
    PROGRESS_VARIABLE,
)

# At most one request in this many seconds while the run goes on.
INTERVAL_SECONDS = 2.0
# How long the end of a run waits for an API server that is away: the result must not be lost.
FLUSH_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 30.0
REQUEST_SECONDS = 10.0
# Where Kubernetes mounts a pod's credentials.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigMapMirror:
    """Copies the file of a progress document into a ConfigMap of the pod's namespace whenever it has changed.

    A context: leaving it makes sure that the last document is there, unless the run is being stopped. It never fails
    the run; what is wrong is said in the log, once.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        key: str = PROGRESS_KEY,
        account: Path = SERVICE_ACCOUNT,
        interval: float = INTERVAL_SECONDS,
        flush: float = FLUSH_SECONDS,
    ) -> None:
        self._path = path
        self._name = name
        self._key = key
        self._account = account
        self._interval = interval
        self._flush = flush
        self._sent = ""
        self._said = ""
        self._gone = False
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    @classmethod
    def from_environment(
        cls, account: Path = SERVICE_ACCOUNT, interval: float = INTERVAL_SECONDS
    ) -> "AbstractContextManager[ConfigMapMirror | None]":
        """Return a mirror of $TUNESMITH_PROGRESS to $TUNESMITH_PROGRESS_CONFIG_MAP, or nothing when that is not set."""
        name = os.environ.get(PROGRESS_CONFIG_MAP_VARIABLE)
        if not name:
            return nullcontext()
        key = os.environ.get(PROGRESS_KEY_VARIABLE) or PROGRESS_KEY
        return cls(Path(os.environ[PROGRESS_VARIABLE]), name, key=key, account=account, interval=interval)

    def __enter__(self) -> "ConfigMapMirror":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(REQUEST_SECONDS)
        if error is None:
            self.flush()

    def _run(self) -> None:
        pause = self._interval
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._stop.is_set():
                return
            pause = self._interval if self._synchronise() else min(2 * pause, LONGEST_PAUSE_SECONDS)

    def hurry(self) -> None:
        """Have what has changed sent now rather than at the next turn."""
        self._wake.set()

    def flush(self) -> None:
        """Return once the last document is there, or cannot be brought there."""
        deadline = time.monotonic() + self._flush
        pause = self._interval / 2
        while not self._synchronise():
            if self._gone or time.monotonic() + pause > deadline:
                self._say("the end of this run could not be reported")
                return
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS / 3)

    def _synchronise(self) -> bool:
        """Send the document if it has changed; return whether the ConfigMap is up to date."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return True
        if text == self._sent:
            return True
        try:
            self._send(text)
        except urllib.error.HTTPError as error:
            self._gone = error.code == http.HTTPStatus.NOT_FOUND
            self._say(_refusal(error, self._name))
            return False
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            self._gone = False
            self._say(f"progress cannot be reported for now, trying again: {_reason(error)}")
            return False
        self._sent, self._said = text, ""
        return True

    def _send(self, text: str) -> None:
        # The credentials are read each time: Kubernetes renews them.
        token = (self._account / "token").read_text().strip()
        namespace = (self._account / "namespace").read_text().strip()
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        host = f"[{host}]" if ":" in host else host
        request = urllib.request.Request(
            f"https://{host}:{port}/api/v1/namespaces/{namespace}/configmaps/{self._name}",
            data=json.dumps({"data": {self._key: text}}).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"},
            method="PATCH",
        )
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # the API server is never behind a proxy
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self._account / "ca.crt"))),
        )
        with opener.open(request, timeout=REQUEST_SECONDS) as response:
            response.read()

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - the run's log
        self._said = sentence


def _refusal(error: urllib.error.HTTPError, name: str) -> str:
    with error:
        if error.code == http.HTTPStatus.NOT_FOUND:
            return f"progress cannot be reported: there is no ConfigMap {name}; the resource may have been deleted"
        if error.code in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
            return (
                f"progress cannot be reported: the pod's ServiceAccount may not patch the ConfigMap {name} "
                f"({error.code} {error.reason}); its Role must allow get and patch"
            )
        return f"progress cannot be reported for now, trying again: the API server answers {error.code} {error.reason}"


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"${error.args[0]} is not set"
    if isinstance(error, urllib.error.URLError):
        return f"the API server does not answer: {error.reason}"
    return f"{type(error).__name__}: {error}"
