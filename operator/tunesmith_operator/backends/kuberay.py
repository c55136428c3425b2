"""The KubeRay backend: a training attempt becomes a RayJob, which KubeRay turns into pods."""

import re
from dataclasses import dataclass

from tunesmith_api.contract import (
    RAY_ADDRESS_VARIABLE,
    RAY_JOIN_VARIABLE,
    WORKERS_PREFIX_VARIABLE,
    TrainRun,
)
from tunesmith_api.placement import OBJECT_STORE_BYTES, devices
from tunesmith_operator.backends import gangs
from tunesmith_operator.backends.objects import APPLIED_ANNOTATION, DRIVER, WORKER, Object, digest, make
from tunesmith_operator.backends.pods import RAY_PORT, SCRATCH_FOLDER, Settings, pod
from tunesmith_operator.backends.shared import RenderError, surroundings
from tunesmith_operator.planner import Workload

NAME = "kuberay"
API_VERSION = "ray.io/v1"
KIND = "RayJob"
ENTRYPOINT = "python -m tunesmith_runtime"
# What the runtime's image holds. KubeRay asks for it before it protects a cluster with a token.
RAY_VERSION = "2.60.0"
# KubeRay appends five characters and `-serve-svc` to the name, which then must be a label of DNS.
_TAKEN = re.compile(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?")
# Where Ray's agent listens in each pod: KubeRay fixes it.
AGENT_PORT = 52365
_NATIVE_ALONE = {RAY_ADDRESS_VARIABLE, WORKERS_PREFIX_VARIABLE, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}


@dataclass(frozen=True)
class Offer:
    """What a cluster has of KubeRay: whether its API is served, is that of 1.6 or newer, and its operator answers."""

    served: bool = False
    recent: bool = False
    answers: bool = False


# What is rendered without a cluster to ask.
USUAL = Offer(served=True, recent=True, answers=True)


def takes(name: str) -> bool:
    """Return whether KubeRay takes a RayJob of this name."""
    return _TAKEN.fullmatch(name) is not None


def render(workload: Workload, settings: Settings, offer: Offer = USUAL) -> tuple[Object, ...]:
    """Return the objects that a training attempt becomes, in the order in which to apply them.

    The last one starts it; it carries a digest of them all. The token of its Ray cluster is KubeRay's own business
    from 1.6 on; before, KubeRay cannot reach a cluster that has one. Raises RenderError for storage that only the local
    shell has and for names that KubeRay refuses.
    """
    if not takes(workload.name):
        raise RenderError(
            f"KubeRay takes names of at most 47 characters that begin with a letter, and this attempt is called "
            f"{workload.name}; choose another name, or backend native"
        )
    parts, account = surroundings(workload, NAME)
    if group := gangs.pod_group(workload, settings.gangs):
        parts.append(group)
    parts.append(_ray_job(workload, settings, account, offer))
    parts[-1]["metadata"]["annotations"] = {APPLIED_ANNOTATION: digest(tuple(parts))}
    return tuple(parts)


def _ray_job(workload: Workload, settings: Settings, account: str | None, offer: Offer) -> Object:
    config = workload.config
    assert isinstance(config, TrainRun)  # noqa: S101 - `choice` sends nothing else here
    start = {
        "num-cpus": str(devices(config)),
        "num-gpus": str(config.gpus),
        "object-store-memory": str(OBJECT_STORE_BYTES),
        "disable-usage-stats": "true",
    }
    cluster: Object = {
        "rayVersion": RAY_VERSION,
        "headGroupSpec": {
            "rayStartParams": start,
            "template": _pod(workload, settings, DRIVER, account, token=offer.recent),
        },
    }
    if offer.recent:
        cluster["authOptions"] = {"mode": "token"}
    if further := config.workers - 1:
        cluster["workerGroupSpecs"] = [
            {
                "groupName": "workers",
                "replicas": further,
                "minReplicas": further,
                "maxReplicas": further,
                "rayStartParams": dict(start),
                "template": _pod(workload, settings, WORKER, account, token=offer.recent),
            }
        ]
    spec: Object = {
        "entrypoint": ENTRYPOINT,
        # The resource owns its attempts, with their delays and their history; a RayJob is one of them.
        "backoffLimit": 0,
        # The pods go at once: GPUs are worth more than a log, whose end the progress has.
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 0,
        **_submission(workload, settings, offer),
        "rayClusterSpec": cluster,
    }
    job = make(workload, API_VERSION, KIND, workload.name, DRIVER, spec=spec)
    gangs.hold(workload, job)
    return job


def _submission(workload: Workload, settings: Settings, offer: Offer) -> Object:
    """Return who tells Ray to run the driver: a container beside it, or a Job of KubeRay's."""
    if offer.recent and settings.submission_mode == "SidecarMode":
        return {"submissionMode": "SidecarMode"}
    return {
        "submissionMode": "K8sJobMode",
        "submitterConfig": {"backoffLimit": 0},
        "submitterPodTemplate": _submitter(workload, settings, token=offer.recent),
    }


def _submitter(workload: Workload, settings: Settings, *, token: bool) -> Object:
    """Return the pod that hands in the driver and waits for its end; KubeRay adds the command."""
    head = _pod(workload, settings, DRIVER, None, token=token)["spec"]
    first = head["containers"][0]
    amounts = {
        "requests": {"cpu": "500m", "memory": "256Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }
    container = {
        "name": "ray-job-submitter",
        "image": first["image"],
        "imagePullPolicy": first["imagePullPolicy"],
        "env": [
            {"name": "HOME", "value": SCRATCH_FOLDER},
            *([] if token else [{"name": "RAY_AUTH_MODE", "value": "disabled"}]),
        ],
        "resources": amounts,
        "securityContext": first["securityContext"],
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH_FOLDER}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": head["securityContext"],
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    if "imagePullSecrets" in head:
        spec["imagePullSecrets"] = head["imagePullSecrets"]
    return {"spec": spec}


def _pod(workload: Workload, settings: Settings, role: str, account: str | None, *, token: bool) -> Object:
    """Return the native backend's pod without what KubeRay decides: how Ray starts, where its pods meet."""
    template = pod(workload, settings, role, account)
    # KubeRay's Services choose its pods by this label.
    del template["metadata"]["labels"]["app.kubernetes.io/name"]
    spec = template["spec"]
    for name in ("hostname", "subdomain"):
        spec.pop(name, None)
    container = spec["containers"][0]
    del container["command"]
    container["env"] = [each for each in container["env"] if each["name"] not in _NATIVE_ALONE]
    container["env"].append({"name": RAY_JOIN_VARIABLE, "value": "1"})
    if not token:
        container["env"].append({"name": "RAY_AUTH_MODE", "value": "disabled"})
    # Ray ends at once when it is told to; training may save a checkpoint before.
    container["lifecycle"] = {"preStop": {"exec": {"command": ["python", "-m", "tunesmith_runtime", "leave"]}}}
    # What ended in a pod has left its traces there: KubeRay makes another one.
    spec["restartPolicy"] = "Never"
    # KubeRay's own probes call programs that need not be in the image.
    answers = {"tcpSocket": {"port": RAY_PORT if role == DRIVER else AGENT_PORT}}
    container["readinessProbe"] = answers | {"periodSeconds": 5, "failureThreshold": 12}
    container["livenessProbe"] = answers | {"initialDelaySeconds": 120, "periodSeconds": 10, "failureThreshold": 12}
    return template
