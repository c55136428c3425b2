"""What every object that a workload becomes has in common: its labels, its owner, its names."""

import hashlib
import json
from typing import Any

from tunesmith_api.base import API_VERSION, GROUP
from tunesmith_api.contract import EvaluateRun, RunIdentity
from tunesmith_api.resources import EvalJob, Resource
from tunesmith_operator.planner import Workload

Object = dict[str, Any]

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "tunesmith"
INSTANCE_LABEL = "app.kubernetes.io/instance"
OWNER_LABEL = f"{GROUP}/owner"
OWNER_KIND_LABEL = f"{GROUP}/owner-kind"
OWNER_UID_LABEL = f"{GROUP}/owner-uid"
ROLE_LABEL = f"{GROUP}/role"
# The SHA-256 of all objects of a workload, on the one that is created last: what it carries need not be applied again.
APPLIED_ANNOTATION = f"{GROUP}/applied"

# On the progress of an attempt: what it was started on, unless that is the native backend.
BACKEND_ANNOTATION = f"{GROUP}/backend"

# On the Job and the pod of a workload that runs code without a network.
SANDBOX_LABEL = f"{GROUP}/sandbox"

# Roles of the objects of a workload.
DRIVER = "driver"
WORKER = "worker"
SERVER = "server"
CONFIG = "config"
PROGRESS = "progress"
GANG = "gang"
ROUTES = "routes"
ADAPTERS = "adapters"
FRONT = "front"


def progress_name(workload: str) -> str:
    """Return the name of the ConfigMap that a workload reports its progress to."""
    return f"{workload}-progress"


def workers_name(workload: str) -> str:
    """Return the name of the StatefulSet of a workload's further pods."""
    return f"{workload}-workers"


def ray_name(workload: str) -> str:
    """Return the name of the headless Service through which the pods of one Ray cluster find each other."""
    return f"{workload}-ray"


def rating_name(workload: str) -> str:
    """Return the name of the Service behind which people find an evaluation's page."""
    return f"rating-{workload}"


def routes_name(workload: str) -> str:
    """Return the name of the ConfigMap with the routes of a gateway."""
    return f"{workload}-routes"


def adapters_name(workload: str) -> str:
    """Return the name of the ConfigMap with the adapters that a server should have."""
    return f"{workload}-adapters"


def front_name(owner: str) -> str:
    """Return the name by which the objects of a ModelServe's one address are grouped."""
    return f"{owner}-front"


def token_name(workload: Workload) -> str:
    """Return the name of the Secret with the token of a Ray cluster.

    The owner's UID is in it: a Secret of an earlier resource of the same name is about to go, and cannot be told apart
    by who may not read Secrets.
    """
    return f"{ray_name(workload.name)}-{workload.config.run.uid[:8]}"


def in_sandbox(workload: Workload) -> bool:
    """Return whether a workload runs code that its tasks bring, apart from network and secrets."""
    return isinstance(workload.config, EvaluateRun) and workload.config.sandboxed


def make(workload: Workload, api_version: str, kind: str, name: str, role: str, **body: Any) -> Object:
    """Return an object of a workload."""
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata(workload, name, role), **body}


def metadata(workload: Workload, name: str, role: str) -> Object:
    """Return the metadata of an object of a workload, owned by the workload's resource."""
    return owned_by(workload.config.run, name, labels(workload, role))


def owned_by(run: RunIdentity, name: str, labels: dict[str, str]) -> Object:
    """Return the metadata of an object that belongs to a resource."""
    described: Object = {"name": name, "namespace": run.namespace, "labels": labels}
    if run.uid:
        described["ownerReferences"] = [_owner(run.kind, run.name, run.uid)]
    return described


def owned(child: EvalJob, owner: Resource) -> Object:
    """Return a resource as it is created for another one, which owns it."""
    meta = owner.metadata
    labels = {
        **child.metadata.labels,
        MANAGED_BY_LABEL: MANAGER,
        OWNER_LABEL: meta.name,
        OWNER_KIND_LABEL: owner.kind,
        OWNER_UID_LABEL: meta.uid,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": child.kind,
        "metadata": {
            "name": child.metadata.name,
            "namespace": child.metadata.namespace,
            "labels": labels,
            "ownerReferences": [_owner(owner.kind, meta.name, meta.uid)],
        },
        "spec": child.spec.to_json(),
    }


def _owner(kind: str, name: str, uid: str) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def selector(workload: Workload, role: str) -> dict[str, str]:
    """Return the labels by which the pods of a role of a workload are selected."""
    return {
        "app.kubernetes.io/name": f"tunesmith-{workload.config.type}",
        INSTANCE_LABEL: workload.name,
        ROLE_LABEL: role,
    }


def labels(workload: Workload, role: str) -> dict[str, str]:
    """Return all labels of an object of a workload."""
    sandbox = {SANDBOX_LABEL: "true"} if in_sandbox(workload) else {}
    return {**selector(workload, role), **owner_labels(workload.config.run), **sandbox}


def owner_labels(run: RunIdentity) -> dict[str, str]:
    """Return the labels of all objects of a resource."""
    owned = {MANAGED_BY_LABEL: MANAGER, OWNER_LABEL: run.name, OWNER_KIND_LABEL: run.kind}
    return owned | {OWNER_UID_LABEL: run.uid} if run.uid else owned


def digest(objects: tuple[Object, ...]) -> str:
    """Return a SHA-256 of objects."""
    return hashlib.sha256(json.dumps(objects, sort_keys=True).encode()).hexdigest()
