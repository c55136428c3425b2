"""The native backend: a workload becomes a Job or a Deployment, and what those need."""

from dataclasses import dataclass
from typing import Any

from tunesmith_api.base import API_VERSION, GROUP
from tunesmith_api.contract import (
    CONFIG_VARIABLE,
    HOST_VARIABLE,
    PROGRESS_VARIABLE,
    READY_VARIABLE,
    VOLUMES_VARIABLE,
    ServeRun,
    TrainRun,
)
from tunesmith_operator.planner import Workload
from tunesmith_operator.storage import claims_in, uris_in

Object = dict[str, Any]

OWNER_LABEL = f"{GROUP}/owner"
OWNER_UID_LABEL = f"{GROUP}/owner-uid"

CONFIG_FOLDER = "/etc/tunesmith"
VOLUMES_FOLDER = "/volumes"
SCRATCH_FOLDER = "/tmp"  # noqa: S108 - an emptyDir of the pod's own
# Any user but root will do: images keep nothing that only their own user could read.
USER = 65532


class RenderError(ValueError):
    """A workload that cannot run in a cluster, with a sentence that says what to change."""


@dataclass(frozen=True)
class Settings:
    """What the cluster's admin chooses: the image that runtime containers are started from."""

    image: str


def render(workload: Workload, settings: Settings) -> tuple[Object, ...]:
    """Return the objects that a workload becomes, in the order in which to create them.

    Raises RenderError for storage that only the local shell has.
    """
    if local := [uri for uri in uris_in(workload.config) if uri.startswith("file://")]:
        raise RenderError(f"{', '.join(local)}: file:// is for the local shell; use pvc:// in a cluster")
    config = _config_map(workload)
    if isinstance(workload.config, ServeRun):
        return config, _deployment(workload, settings), _service(workload, workload.config)
    return config, _job(workload, settings)


def _config_map(workload: Workload) -> Object:
    text = workload.config.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(workload),
        "immutable": True,
        "data": {"config.json": text},
    }


def _job(workload: Workload, settings: Settings) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(workload),
        "spec": {
            # The resource owns its attempts, with their delays and their history; a Job is one of them.
            "backoffLimit": 0,
            "template": _pod(workload, settings, restart_policy="Never"),
        },
    }


def _deployment(workload: Workload, settings: Settings) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(workload),
        "spec": {
            "replicas": workload.replicas,
            "selector": {"matchLabels": _selector(workload)},
            "template": _pod(workload, settings, restart_policy="Always"),
        },
    }


def _service(workload: Workload, config: ServeRun) -> Object:
    metadata = _metadata(workload) | {"name": config.run.name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "selector": _selector(workload),
            "ports": [{"name": "http", "port": config.port, "targetPort": "http"}],
        },
    }


def _pod(workload: Workload, settings: Settings, restart_policy: str) -> Object:
    claims = claims_in(workload.config)
    serves = isinstance(workload.config, ServeRun)
    mounts = [
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": "scratch", "mountPath": SCRATCH_FOLDER},
        *(
            {"name": f"claim-{number}", "mountPath": f"{VOLUMES_FOLDER}/{claim}", "readOnly": serves}
            for number, claim in enumerate(claims)
        ),
    ]
    volumes: list[Object] = [
        {"name": "config", "configMap": {"name": workload.name}},
        {"name": "scratch", "emptyDir": {}},
        # Numbered, because a claim may be called what a volume may not.
        *(
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, claim in enumerate(claims)
        ),
    ]
    if isinstance(workload.config, TrainRun):
        # Workers hand tensors to each other through shared memory; the default of 64 MiB is too small for them.
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
    container: Object = {
        "name": workload.config.type,
        "image": settings.image,
        "command": ["python", "-m", "tunesmith_runtime"],
        "env": _environment(serves),
        "resources": _resources(workload),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": mounts,
    }
    if isinstance(workload.config, ServeRun):
        # Ready is who has answered a completion; the server leaves a file when it has.
        ready = {"exec": {"command": ["test", "-f", f"{SCRATCH_FOLDER}/ready"]}}
        container["ports"] = [{"name": "http", "containerPort": workload.config.port}]
        container["startupProbe"] = ready | {"periodSeconds": 5, "failureThreshold": 360}
        container["readinessProbe"] = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 5}
    return {
        "metadata": {"labels": _labels(workload)},
        "spec": {
            "restartPolicy": restart_policy,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": volumes,
        },
    }


def _environment(serves: bool) -> list[Object]:
    values = {
        CONFIG_VARIABLE: f"{CONFIG_FOLDER}/config.json",
        PROGRESS_VARIABLE: f"{SCRATCH_FOLDER}/progress.json",
        VOLUMES_VARIABLE: VOLUMES_FOLDER,
        "HOME": SCRATCH_FOLDER,
        "PYTHONUNBUFFERED": "1",
    }
    if serves:
        values |= {HOST_VARIABLE: "0.0.0.0", READY_VARIABLE: f"{SCRATCH_FOLDER}/ready"}  # noqa: S104 - the pod's own
    return [{"name": name, "value": value} for name, value in values.items()]


def _resources(workload: Workload) -> Object:
    wanted = workload.resources
    amounts: Object = {}
    if wanted.cpu is not None:
        amounts["cpu"] = wanted.cpu
    if wanted.memory is not None:
        amounts["memory"] = wanted.memory
    if wanted.gpu:
        amounts["nvidia.com/gpu"] = wanted.gpu
    return {"requests": amounts, "limits": amounts} if amounts else {}


def _metadata(workload: Workload) -> Object:
    run = workload.config.run
    metadata: Object = {"name": workload.name, "namespace": workload.namespace, "labels": _labels(workload)}
    if run.uid:
        metadata["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": run.kind,
                "name": run.name,
                "uid": run.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    return metadata


def _selector(workload: Workload) -> dict[str, str]:
    return {"app.kubernetes.io/name": f"tunesmith-{workload.config.type}", "app.kubernetes.io/instance": workload.name}


def _labels(workload: Workload) -> dict[str, str]:
    run = workload.config.run
    labels = {
        **_selector(workload),
        "app.kubernetes.io/managed-by": "tunesmith",
        OWNER_LABEL: run.name,
    }
    return labels | {OWNER_UID_LABEL: run.uid} if run.uid else labels
