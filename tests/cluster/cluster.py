"""A cluster as its user sees it: kubectl for what people type, requests for what tests look at again and again."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import requests
import yaml
from kubernetes import config
from kubernetes.client import Configuration
from tools.programs import FOLDER

from tunesmith_operator.controller.client import RESOURCES

Object = dict[str, Any]
ValueT = TypeVar("ValueT")

HARNESS = Path(os.environ.get("TUNESMITH_CLUSTER", "/var/tmp/tunesmith-cluster"))
REGISTRY = os.environ.get("TUNESMITH_REGISTRY", "localhost/tunesmith")
TAG = os.environ.get("TUNESMITH_TAG", "test")
STANDIN_IMAGE = f"{REGISTRY}/standin:{TAG}"


def eventually(look: Callable[[], ValueT | None], what: str, seconds: float = 60.0) -> ValueT:
    """Return what `look` finds as soon as it finds something true; fail with what it saw last."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            seen = look()
        except requests.ConnectionError as error:
            seen, last = None, repr(error)
        else:
            last = repr(seen)
        if seen:
            return seen
        assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s; last seen: {last}"
        time.sleep(0.2)


@dataclass(frozen=True)
class Cluster:
    """The cluster that a kubeconfig names; with `impersonate`, as that account sees it."""

    kubeconfig: str
    impersonate: str | None = None
    _loaded: Configuration = field(default_factory=Configuration, compare=False)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl and return what it prints."""
        account = ["--as", self.impersonate] if self.impersonate else []
        done = subprocess.run(
            [str(FOLDER / "kubectl"), "--kubeconfig", self.kubeconfig, *account, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def helm(self, *arguments: str, check: bool = True) -> str:
        """Run helm and return what it prints."""
        done = subprocess.run(
            [str(FOLDER / "helm"), "--kubeconfig", self.kubeconfig, *arguments],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not check or done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    @cached_property
    def _session(self) -> requests.Session:
        config.load_kube_config(self.kubeconfig, client_configuration=self._loaded)
        session = requests.Session()
        session.trust_env = False  # the certificates are the kubeconfig's
        session.verify = self._loaded.ssl_ca_cert or True
        if self._loaded.cert_file:
            session.cert = (self._loaded.cert_file, self._loaded.key_file)
        if token := self._loaded.api_key.get("authorization"):
            session.headers["Authorization"] = token
        if self.impersonate:
            session.headers["Impersonate-User"] = self.impersonate
        return session

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        """Send a request to the API server."""
        host = self._session and self._loaded.host
        return self._session.request(method, f"{host}{path}", json=body, timeout=30, **options)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object, or None."""
        answer = self.request("GET", RESOURCES[kind].path(namespace, name))
        return None if answer.status_code == 404 else dict(answer.json())

    def all(self, kind: str, namespace: str | None, labels: str = "") -> list[Object]:
        """Return the objects of a kind, those of all namespaces with None."""
        answer = self.request("GET", RESOURCES[kind].path(namespace), params={"labelSelector": labels})
        return list(answer.json()["items"])

    def create(self, body: Object) -> requests.Response:
        """Create an object as it is, past all that clients check."""
        return self.request("POST", RESOURCES[body["kind"]].path(body["metadata"]["namespace"]), body)


@dataclass(frozen=True)
class Namespace:
    """A namespace of a test's own."""

    cluster: Cluster
    name: str

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl in this namespace."""
        return self.cluster.kubectl("--namespace", self.name, *arguments, stdin=stdin, check=check)

    def apply(self, *objects: Object) -> str:
        """Apply manifests, all at once."""
        return self.kubectl("apply", "--validate=false", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object of this namespace, or None."""
        return self.cluster.get(kind, self.name, name)

    def all(self, kind: str, labels: str = "") -> list[Object]:
        """Return the objects of a kind in this namespace."""
        return self.cluster.all(kind, self.name, labels)

    def status(self, kind: str, name: str) -> Object:
        """Return the status of a resource, empty as long as it has none."""
        return dict((self.get(kind, name) or {}).get("status") or {})

    def condition(self, kind: str, name: str, type_: str) -> Object | None:
        """Return a condition of a resource, if it is there."""
        conditions = self.status(kind, name).get("conditions") or ()
        return next((dict(each) for each in conditions if each["type"] == type_), None)

    def await_condition(
        self, kind: str, name: str, type_: str, reason: str | None = None, seconds: float = 60
    ) -> Object:
        """Wait until a condition is True, for that reason if one is named; return it."""

        def holds() -> Object | None:
            seen = self.condition(kind, name, type_)
            fits = seen is not None and seen["status"] == "True" and reason in {None, seen["reason"]}
            return seen if fits else None

        return eventually(holds, f"{type_} {reason or ''} of {kind} {name} ({self.told(kind, name)})", seconds)

    def await_phase(self, kind: str, name: str, phase: str, seconds: float = 60) -> None:
        """Wait until a resource is in a phase."""
        eventually(lambda: self.status(kind, name).get("phase") == phase, f"phase {phase} of {kind} {name}", seconds)

    def told(self, kind: str, name: str) -> str:
        """Return what the conditions of a resource say."""
        said = self.condition(kind, name, "Reconciling")
        return f"{said['reason']}: {said['message']}" if said else "nothing yet"

    def claim(self, name: str) -> None:
        """Make a volume claim: of the default StorageClass, or in a folder of the harness's one node."""
        spec: Object = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        if HARNESS in Path(self.cluster.kubeconfig).parents:
            folder = HARNESS / "volumes" / self.name / name
            folder.mkdir(parents=True, mode=0o777)
            folder.chmod(0o777)
            volume = {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"{self.name}-{name}"},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteMany"],
                    "hostPath": {"path": str(folder)},
                    "claimRef": {"namespace": self.name, "name": name},
                },
            }
            spec["storageClassName"] = ""
            self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(volume))
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(claim))

    def shelf(self, *claims: str) -> "Shelf":
        """Return a pod that has claims mounted, for tests to look into."""
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "shelf"},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "securityContext": {"runAsUser": 65532, "fsGroup": 65532},
                "containers": [
                    {
                        "name": "shelf",
                        "image": STANDIN_IMAGE,
                        "command": ["sleep", "86400"],
                        "volumeMounts": [{"name": each, "mountPath": f"/volumes/{each}"} for each in claims],
                    }
                ],
                "volumes": [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims],
            },
        }
        self.apply(pod)
        self.kubectl("wait", "--for=condition=Ready", "pod/shelf", "--timeout=60s")
        return Shelf(self)


@dataclass(frozen=True)
class Shelf:
    """The claims of a namespace, through a pod."""

    namespace: Namespace

    def put(self, folder: Path, claim: str) -> None:
        """Copy what is in a folder into a claim."""
        names = sorted(path.name for path in folder.iterdir())
        packing = ["tar", "-C", str(folder), "--mode=a+rwX", "-cf", "-", *names]
        packed = subprocess.run(packing, capture_output=True, check=True).stdout
        cluster = self.namespace.cluster
        command = ["exec", "-i", "shelf", "--", "tar", "-C", f"/volumes/{claim}", "--no-same-owner", "-xmf", "-"]
        done = subprocess.run(
            [str(FOLDER / "kubectl"), "--kubeconfig", cluster.kubeconfig, "-n", self.namespace.name, *command],
            input=packed,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr

    def run(self, *command: str) -> str:
        """Run a command beside the claims and return what it prints."""
        return self.namespace.kubectl("exec", "shelf", "--", *command)


def pod_phases(pods: Sequence[Object]) -> dict[str, str]:
    """Return the phases of pods by their names."""
    return {pod["metadata"]["name"]: pod["status"]["phase"] for pod in pods}
