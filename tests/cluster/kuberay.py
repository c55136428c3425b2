"""Plays KubeRay's part: starts the pods that RayJobs ask for, and says of them what KubeRay says.

What it does with a RayJob, seen together with its pods, is decided by `step`, which touches nothing. Where the image
has Ray, it is started as KubeRay starts it; the stand-in of the tests has none, and its driver runs by itself. The
driver takes the place of Ray's process, so that the end of its pod is the end of the Ray job.
"""

import copy
import gzip
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.cluster.cluster import Cluster, Object, eventually

DEFINITION = Path(__file__).parents[1] / "crds" / "kuberay" / "ray.io_rayjobs.yaml.gz"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FINALIZER = "ray.io/rayjob-finalizer"
TOKEN = "0123456789abcdef" * 2
PORT = 6379
LOOK_SECONDS = 0.3
# KubeRay runs `ray start` in each pod; the driver is handed to Ray. Here the driver follows it in the same shell.
_HEAD = """
if command -v ray >/dev/null; then
  {start} &
  until ray health-check --address "$RAY_ADDRESS" >/dev/null 2>&1; do sleep 1; done
fi
exec {entrypoint}
"""
_WORKER = """
if command -v ray >/dev/null; then
  until ray health-check --address "$RAY_ADDRESS" >/dev/null 2>&1; do sleep 1; done
  exec {start}
fi
exec {entrypoint} worker
"""


@dataclass(frozen=True)
class Step:
    """What is to be done about a RayJob now. A `status` is what changes of it; None is taken away."""

    create: tuple[Object, ...] = ()
    delete: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)


def step(ray_job: Object, pods: Sequence[Object], now: str) -> Step:
    """Return what KubeRay would do.

    | RayJob         | pods                | what follows                         |
    |----------------|---------------------|--------------------------------------|
    | suspended      | any                 | they are deleted; Suspended          |
    | new            | none                | all are made; Initializing           |
    | new            | of a suspended time | they are waited for                  |
    | Initializing   | the head is missing | it is made                           |
    | Running        | the head is gone    | Failed                               |
    | has begun      | the head ended      | Complete or Failed, by its exit code |
    | has begun      | a worker is lost    | it is made again                     |
    | has begun      | the head runs       | Running                              |
    | has ended      | any                 | they are deleted                     |
    """
    spec, status = ray_job["spec"], ray_job.get("status") or {}
    deployment = status.get("jobDeploymentStatus", "")
    names = tuple(pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp"))
    if deployment in {"Complete", "Failed"}:
        return Step(delete=names if spec.get("shutdownAfterJobFinishes") else ())
    if spec.get("suspend"):
        gone = {"jobDeploymentStatus": "Suspended", "jobStatus": None, "rayClusterName": None}
        return Step(delete=names, status={} if deployment == "Suspended" else gone)
    wanted = pods_of(ray_job)
    if deployment in {"", "Suspended"}:
        if pods:
            return Step(delete=names)
        begun = {"jobDeploymentStatus": "Initializing", "jobStatus": None, "startTime": now, **_named(ray_job)}
        return Step(create=tuple(wanted), status=begun)
    there = {pod["metadata"]["name"]: pod for pod in pods}
    head, *workers = wanted
    seen = there.get(head["metadata"]["name"])
    if seen is None and deployment == "Initializing":
        return Step(create=(head,))
    if seen is None:
        return Step(delete=names, status=_failed("AppFailed", "Ray head pod not found.", now))
    if (code := _exit_code(seen)) is not None:
        if code:
            said = f"Job entrypoint command failed with exit code {code}"
            return Step(status={**_failed("AppFailed", said, now), "jobStatus": "FAILED"})
        return Step(status={"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": now})
    lost = [name for name, pod in there.items() if pod["status"].get("phase") == "Failed" and name in names]
    missing = tuple(worker for worker in workers if worker["metadata"]["name"] not in there)
    runs = seen["status"].get("phase") == "Running" and deployment != "Running"
    return Step(missing, tuple(lost), {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"} if runs else {})


def pods_of(ray_job: Object) -> list[Object]:
    """Return the pods of a RayJob's cluster, the head's first, from the templates."""
    cluster, group = ray_job["spec"]["rayClusterSpec"], cluster_name(ray_job)
    address = f"{group}-head-svc.{ray_job['metadata']['namespace']}.svc:{PORT}"
    head = cluster["headGroupSpec"]
    entrypoint = ray_job["spec"]["entrypoint"]
    start = _ray_start(head["rayStartParams"], f"--head --port={PORT} --include-dashboard=false")
    made = [_pod(ray_job, head["template"], "head", "", _HEAD.format(start=start, entrypoint=entrypoint), address)]
    for each in cluster.get("workerGroupSpecs") or ():
        start = _ray_start(each["rayStartParams"], f"--address={address}")
        script = _WORKER.format(start=start, entrypoint=entrypoint)
        made += [
            _pod(ray_job, each["template"], "worker", f"-{number}", script, address)
            for number in range(each["replicas"])
        ]
    return made


def service_of(ray_job: Object) -> Object:
    """Return the Service by which workers find the head."""
    name = cluster_name(ray_job)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**_metadata(ray_job), "name": f"{name}-head-svc", "labels": {"ray.io/cluster": name}},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"ray.io/cluster": name, "ray.io/node-type": "head"},
            "ports": [{"name": "gcs", "port": PORT}],
        },
    }


def cluster_name(ray_job: Object) -> str:
    """Return the name of a RayJob's cluster: its own and five characters."""
    return f"{ray_job['metadata']['name']}-x7k2p"


def definition() -> Object:
    """Return KubeRay's definition of RayJob without what Kubernetes 1.20 trips over: rules, and empty defaults."""
    loaded: Object = yaml.load(gzip.decompress(DEFINITION.read_bytes()), Loader=yaml.CSafeLoader)
    return dict(_plainer(loaded))


def _plainer(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if name != "x-kubernetes-validations"}
        if kept.get("default") == "":
            del kept["default"]
        plain = {name: _plainer(each) for name, each in kept.items()}
        if keys := plain.get("x-kubernetes-list-map-keys"):  # a key has a default, or it is required
            items = plain["items"]
            lacking = {key for key in keys if "default" not in items["properties"][key]}
            items["required"] = sorted({*items.get("required", ()), *lacking})
        return plain
    return [_plainer(each) for each in value] if isinstance(value, list) else value


def _pod(ray_job: Object, template: Object, node_type: str, suffix: str, script: str, address: str) -> Object:
    made: Object = copy.deepcopy({"apiVersion": "v1", "kind": "Pod", **template})
    labels = template["metadata"].get("labels") or {}
    ours = {
        "ray.io/cluster": cluster_name(ray_job),
        "ray.io/node-type": node_type,
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }
    name = f"{cluster_name(ray_job)}-{node_type}{suffix}"
    made["metadata"] |= {**_metadata(ray_job), "name": name, "labels": ours | labels}
    container = made["spec"]["containers"][0]
    container["command"], container["args"] = ["/bin/bash", "-c", "--"], [script]
    host = f"127.0.0.1:{PORT}" if node_type == "head" else address
    container["env"] = [*container.get("env", []), {"name": "RAY_ADDRESS", "value": host}]
    if (ray_job["spec"]["rayClusterSpec"].get("authOptions") or {}).get("mode") == "token":
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        container["env"] += [{"name": name, "value": value} for name, value in token.items()]
    # In the stand-in nobody listens where they knock.
    container.pop("readinessProbe", None)
    container.pop("livenessProbe", None)
    return made


def _ray_start(given: Mapping[str, str], further: str) -> str:
    flags = [f"--{name}" if value == "true" else f"--{name}={shlex.quote(value)}" for name, value in given.items()]
    return " ".join(["ray start --block", further, *flags])


def _metadata(ray_job: Object) -> Object:
    meta = ray_job["metadata"]
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": meta["name"], "uid": meta.get("uid", "")}
    return {
        "namespace": meta["namespace"],
        "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
    }


def _named(ray_job: Object) -> Object:
    return {"rayClusterName": cluster_name(ray_job), "jobId": f"{ray_job['metadata']['name']}-abcde"}


def _failed(reason: str, message: str, now: str) -> Object:
    return {"jobDeploymentStatus": "Failed", "reason": reason, "message": message, "endTime": now}


def _exit_code(pod: Object) -> int | None:
    for each in pod["status"].get("containerStatuses") or ():
        if ended := (each.get("state") or {}).get("terminated"):
            return int(ended["exitCode"])
    # A pod that was pushed out has no container to ask.
    return 137 if pod["status"].get("phase") == "Failed" else None


@dataclass(frozen=True)
class KubeRay:
    """Looks after the RayJobs of a cluster, as often as it can."""

    cluster: Cluster

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve RayJobs and look after them; afterwards both are gone."""
        made = [definition(), _cron_jobs()]
        for each in made:
            assert self.cluster.request("POST", DEFINITIONS, each).status_code in {201, 409}
        eventually(lambda: self.cluster.request("GET", _path(None)).status_code == 200, "RayJobs that are served")
        over = threading.Event()
        thread = threading.Thread(target=self._work, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            for each in made:
                self.cluster.request("DELETE", f"{DEFINITIONS}/{each['metadata']['name']}")
            gone = f"{DEFINITIONS}/{made[0]['metadata']['name']}"
            eventually(lambda: self.cluster.request("GET", gone).status_code == 404, "end of the RayJobs")
            over.set()
            thread.join()

    def _work(self, over: threading.Event) -> None:
        while not over.wait(LOOK_SECONDS):
            try:
                answer = self.cluster.request("GET", _path(None))
                for ray_job in answer.json().get("items", ()) if answer.ok else ():
                    self._look_after(ray_job)
            except requests.ConnectionError:
                continue  # tests restart the API server, too

    def _look_after(self, ray_job: Object) -> None:
        meta = ray_job["metadata"]
        others = [each for each in meta.get("finalizers", ()) if each != FINALIZER]
        if meta.get("deletionTimestamp"):
            if FINALIZER in meta.get("finalizers", ()):
                self._change(ray_job, {"metadata": {"finalizers": others}})
            return
        if FINALIZER not in meta.get("finalizers", ()):
            self._change(ray_job, {"metadata": {"finalizers": [*others, FINALIZER]}})
        labels = f"ray.io/cluster={cluster_name(ray_job)}"
        todo = step(ray_job, self.cluster.all("Pod", meta["namespace"], labels), _now())
        if todo.create:
            self.cluster.create(service_of(ray_job))
        for pod in todo.create:
            self.cluster.create(pod)
        for name in todo.delete:
            self.cluster.request("DELETE", f"/api/v1/namespaces/{meta['namespace']}/pods/{name}")
        if todo.status:
            self._change(ray_job, {"status": todo.status}, "/status")

    def _change(self, ray_job: Object, body: Object, subresource: str = "") -> None:
        path = f"{_path(ray_job['metadata']['namespace'])}/{ray_job['metadata']['name']}{subresource}"
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self.cluster.request("PATCH", path, body, headers=headers)
        assert answer.ok or answer.status_code in {404, 409}, answer.text


def _cron_jobs() -> Object:
    """Return a definition by which the cluster looks like one with KubeRay 1.6."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "RayCronJob", "plural": "raycronjobs"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "raycronjobs.ray.io"},
        "spec": {"group": "ray.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _path(namespace: str | None) -> str:
    return f"/apis/ray.io/v1/{f'namespaces/{namespace}/' if namespace else ''}rayjobs"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
