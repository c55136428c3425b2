"""An API server as plain HTTP: what it takes and what it says of the rest."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import requests

from tunesmith_api.base import Kind
from tunesmith_api.crd import custom_resource_definition
from tunesmith_api.resources import PLURALS

Object = dict[str, Any]

HARNESS = Path(os.environ.get("TUNESMITH_CLUSTER", "/var/tmp/tunesmith-cluster"))
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# What the server adds when it could not run every rule because of the errors that it lists before.
_INCOMPLETE = "some validation rules were not checked"
_UNKNOWN = re.compile(r'unknown field "([^"]+)"')


class Complaint(NamedTuple):
    """One thing that the server does not like: the path of the field, and its words."""

    field: str
    words: str


@dataclass(frozen=True)
class Answer:
    """What the server says to a request."""

    code: int
    body: Object

    @property
    def accepted(self) -> bool:
        return self.code < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def complaints(self) -> list[Complaint]:
        """What is wrong with the object, field by field."""
        causes = (self.body.get("details") or {}).get("causes") or ()
        found = [Complaint(cause["field"], cause["message"]) for cause in causes]
        found += [Complaint(path, "unknown field") for path in _UNKNOWN.findall(self.message)]
        return [each for each in found if _INCOMPLETE not in each.words]


@dataclass(frozen=True)
class Server:
    """An API server, asked as an administrator. `group` is the API group that our kinds have on it."""

    address: str
    group: str
    namespace: str = "default"
    strict: bool = True
    _pki: Path = field(default=HARNESS / "pki")

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # the certificates are the harness's own
        session.cert = (str(self._pki / "admin.crt"), str(self._pki / "admin.key"))
        session.verify = str(self._pki / "ca.crt")
        return session

    def answers(self) -> bool:
        """Whether the server is there."""
        if not (self._pki / "admin.crt").exists():
            return False
        try:
            return self._send("GET", DEFINITIONS).code == 200
        except requests.ConnectionError:
            return False

    def definition(self, kind: Kind) -> Object:
        """Return the definition of a kind as the server has it."""
        return self._send("GET", f"{DEFINITIONS}/{PLURALS[kind]}.{self.group}").body

    def load(self, kind: Kind) -> Answer:
        """Load the definition of a kind, in the place of an older one; return when its objects are served."""
        return self.load_definition(self.definition_of(kind), lambda: self.list(kind).accepted)

    def load_definition(self, wanted: Object, served: Callable[[], bool]) -> Answer:
        """Load a definition, in the place of an older one; return when its objects are served."""
        answer = self.try_definition(wanted)
        name = wanted["metadata"]["name"]
        present = self._send("GET", f"{DEFINITIONS}/{name}")
        if present.accepted and answer.accepted:
            if answer.body["metadata"]["generation"] == present.body["metadata"]["generation"]:
                return present
            self._unload(name)  # so that no request can still meet the old schema
        if answer.accepted:
            answer = self._send("POST", DEFINITIONS, wanted)
        if answer.accepted:
            _eventually(served, f"objects of {name} are not served")
        return answer

    def unload(self, kind: Kind) -> None:
        """Delete the definition of a kind with all objects, and wait until it is gone."""
        self._unload(f"{PLURALS[kind]}.{self.group}")

    def _unload(self, name: str) -> None:
        path = f"{DEFINITIONS}/{name}"
        self._send("DELETE", path)
        _eventually(lambda: self._send("GET", path).code == 404, f"{path} is not deleted")

    def try_definition(self, definition: Object) -> Answer:
        """Return what the server would say if this definition were loaded."""
        name = definition["metadata"]["name"]
        present = self._send("GET", f"{DEFINITIONS}/{name}")
        if not present.accepted:
            return self._send("POST", DEFINITIONS, definition, dry=True)
        metadata = {"name": name, "resourceVersion": present.body["metadata"]["resourceVersion"]}
        return self._send("PUT", f"{DEFINITIONS}/{name}", {**definition, "metadata": metadata}, dry=True)

    def definition_of(self, kind: Kind) -> Object:
        """Return our definition of a kind, under this server's group."""
        definition = custom_resource_definition(kind)
        definition["metadata"]["name"] = f"{PLURALS[kind]}.{self.group}"
        definition["spec"]["group"] = self.group
        return definition

    def list(self, kind: Kind) -> Answer:
        """Return the objects of a kind."""
        return self._send("GET", self._path(kind))

    def create(self, body: Object, *, dry: bool = True) -> Answer:
        """Create an object, or only say what would come of it."""
        return self._send("POST", self._path(body["kind"]), self._in_group(body), dry=dry)

    def update(self, body: Object, *, dry: bool = True) -> Answer:
        """Replace the spec of a stored object, or only say what would come of it."""
        return self._send("PUT", self._path(body["kind"], body["metadata"]["name"]), self._in_group(body), dry=dry)

    def update_status(self, body: Object, *, dry: bool = True) -> Answer:
        """Replace the status of a stored object, or only say what would come of it."""
        path = f"{self._path(body['kind'], body['metadata']['name'])}/status"
        return self._send("PUT", path, self._in_group(body), dry=dry)

    def delete(self, body: Object) -> Answer:
        """Delete a stored object."""
        return self._send("DELETE", self._path(body["kind"], body["metadata"]["name"]))

    def send(self, method: str, path: str, body: Object | None = None, *, dry: bool = False, **query: str) -> Answer:
        """Send a request for what is none of our kinds; a patch is one of server-side apply."""
        return self._send(method, path, body, dry=dry, **query)

    def _in_group(self, body: Object) -> Object:
        return {**body, "apiVersion": f"{self.group}/v1alpha1"}

    def _path(self, kind: Kind, name: str = "") -> str:
        path = f"/apis/{self.group}/v1alpha1/namespaces/{self.namespace}/{PLURALS[kind]}"
        return f"{path}/{name}" if name else path

    def _send(self, method: str, path: str, body: Object | None = None, *, dry: bool = False, **query: str) -> Answer:
        if dry:
            query["dryRun"] = "All"
        if self.strict and body is not None:
            query["fieldValidation"] = "Strict"
        headers = {"Content-Type": "application/apply-patch+yaml"} if method == "PATCH" else {}
        answer = self._session.request(
            method, self.address + path, json=body, params=query, headers=headers, timeout=30
        )
        is_json = "json" in answer.headers.get("Content-Type", "")
        return Answer(answer.status_code, answer.json() if is_json else {"message": answer.text})


def _eventually(holds: Callable[[], bool], otherwise: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
