"""The pods of a workload: restricted, with the volumes and the environment that the runtime expects."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tunesmith_api import uris
from tunesmith_api.contract import (
    ADAPTERS_KEY,
    ADAPTERS_VARIABLE,
    ALLOW_CODE_VARIABLE,
    API_KEYS_VARIABLE,
    CONFIG_VARIABLE,
    HOST_VARIABLE,
    PROGRESS_CONFIG_MAP_VARIABLE,
    PROGRESS_KEY_VARIABLE,
    PROGRESS_VARIABLE,
    RATING_PORT,
    RATING_URL_VARIABLE,
    RAY_ADDRESS_VARIABLE,
    READY_VARIABLE,
    ROUTES_CONFIG_MAP_VARIABLE,
    TERMINATION_LOG_VARIABLE,
    VOLUMES_VARIABLE,
    WORKERS_PREFIX_VARIABLE,
    EvaluateRun,
    GatewayRun,
    ServeRun,
    TrainRun,
)
from tunesmith_api.queueing import Backend, Gang
from tunesmith_operator.backends import gangs, servers
from tunesmith_operator.backends.affinity import affinity
from tunesmith_operator.backends.objects import (
    DRIVER,
    SERVER,
    WORKER,
    Object,
    adapters_name,
    in_sandbox,
    labels,
    progress_name,
    rating_name,
    ray_name,
    routes_name,
    token_name,
    workers_name,
)
from tunesmith_operator.planner import Workload
from tunesmith_operator.storage import claims_of

SubmissionMode = Literal["SidecarMode", "K8sJobMode"]

CONFIG_FOLDER = "/etc/tunesmith"
VOLUMES_FOLDER = "/volumes"
SCRATCH_FOLDER = "/tmp"  # noqa: S108 - an emptyDir of the pod's own
RAY_PORT = 6379
# Any user but root will do: images keep nothing that only their own user could read.
USER = 65532
# Where the workload does not say: what takes no checkpoints ends within seconds of SIGTERM.
GRACE_SECONDS = 15
# A server ends once its answers are written; before it is told to end, all proxies have to hear that it will.
DRAIN_SECONDS = 5
KEYS_FOLDER = "/etc/tunesmith-keys"
ADAPTERS_FOLDER = "/etc/tunesmith-adapters"
# How long a training pod stays on a node that does not answer; Kubernetes' default of five minutes is for servers.
NODE_PATIENCE_SECONDS = 30
_UNREACHABLE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


@dataclass(frozen=True)
class Settings:
    """What the cluster's admin chooses: the image that runtime containers are started from, and what runs them."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    # What runs training attempts whose spec leaves the choice to the operator.
    backend: Backend = "auto"
    # KubeRay 1.6 and newer: SidecarMode, or K8sJobMode where namespaces enforce the restricted standard.
    submission_mode: SubmissionMode = "SidecarMode"
    # Which gangs the cluster has, and the scheduler that knows the PodGroups of coscheduling.
    gangs: frozenset[Gang] = gangs.ALL
    coscheduler: str = "scheduler-plugins-scheduler"
    # Whether tasks that an evaluation brings from storage or in its spec may bring Python.
    allow_task_code: bool = False
    # Whether ModelServes may have HTTPRoutes.
    gateway_api: bool = False


def pod(workload: Workload, settings: Settings, role: str, account: str | None) -> Object:
    """Return the pod template of a role of a workload, run by the ServiceAccount `account`.

    Of what a resource gives its pods, a sandbox takes what places it, and nothing that could bring it secrets.
    """
    wanted = workload.pod_template
    if in_sandbox(workload):
        wanted = wanted.model_copy(update={"env": (), "volumes": (), "volume_mounts": ()})
        workload = replace(workload, pod_template=wanted, secrets=(), keys=())
    spec: Object = {
        "restartPolicy": "Never" if role == DRIVER else "Always",
        "terminationGracePeriodSeconds": _grace_seconds(workload, role),
        # Only who reports progress talks to the API server.
        "automountServiceAccountToken": role != WORKER and not in_sandbox(workload),
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            # A claim with many files is not walked through at each start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(workload, settings, role)],
        "volumes": [*_volumes(workload), *wanted.volumes],
    }
    if account is not None:
        spec["serviceAccountName"] = account
    if role == DRIVER and _spreads(workload):
        spec |= {"hostname": workload.name, "subdomain": ray_name(workload.name)}
    chosen = {
        "nodeSelector": wanted.node_selector,
        "tolerations": _tolerations(workload),
        "affinity": affinity(wanted.affinity, workload.avoid_nodes),
        "priorityClassName": wanted.priority_class_name,
        "runtimeClassName": wanted.runtime_class_name,
        "imagePullSecrets": [{"name": each.name} for each in wanted.image_pull_secrets],
    }
    spec |= {name: value for name, value in chosen.items() if value}
    if isinstance(workload.config, ServeRun):
        servers.arrange(spec, workload, settings.image)
    metadata: Object = {"labels": wanted.labels | labels(workload, role)}
    if wanted.annotations:
        metadata["annotations"] = dict(wanted.annotations)
    template = {"metadata": metadata, "spec": spec}
    gangs.join(workload, template, settings.coscheduler)
    return template


def _grace_seconds(workload: Workload, role: str) -> int:
    if workload.grace_seconds is not None:
        return workload.grace_seconds
    if isinstance(workload.config, ServeRun | GatewayRun):
        return DRAIN_SECONDS + int(workload.config.grace_seconds)
    return GRACE_SECONDS


def _tolerations(workload: Workload) -> list[Object]:
    """Return those of the pod template, and for training how long a node that does not answer is borne."""
    given: list[Object] = [dict(each) for each in workload.pod_template.tolerations]
    known = {each.get("key") for each in given}
    if not isinstance(workload.config, TrainRun) or None in known:  # without a key it stands for all
        return given
    limited = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_PATIENCE_SECONDS}
    return [*given, *({"key": key, **limited} for key in _UNREACHABLE if key not in known)]


def _spreads(workload: Workload) -> bool:
    return isinstance(workload.config, TrainRun) and workload.config.workers > 1


def _container(workload: Workload, settings: Settings, role: str) -> Object:
    config = workload.config
    container: Object = {
        "name": config.type,
        "image": workload.pod_template.image or settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", "tunesmith_runtime", *(["worker"] if role == WORKER else [])],
        "env": _environment(workload, settings, role),
        "resources": _resources(workload),
        # The last lines of a container that says nothing itself are its last words.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [*_mounts(workload), *workload.pod_template.volume_mounts],
    }
    if workload.secrets:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in workload.secrets]
    if isinstance(config, ServeRun):
        # Ready is who has answered a completion; the server leaves a file when it has.
        ready = {"exec": {"command": ["test", "-f", f"{SCRATCH_FOLDER}/ready"]}}
        container["ports"] = [{"name": "http", "containerPort": config.port, "protocol": "TCP"}]
        container["startupProbe"] = ready | {"periodSeconds": 2, "failureThreshold": 900}
        container["readinessProbe"] = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 5}
    if isinstance(config, GatewayRun):
        container["ports"] = [{"name": "http", "containerPort": config.port, "protocol": "TCP"}]
        container["readinessProbe"] = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 2}
    if role == SERVER:
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}}
    if isinstance(config, EvaluateRun) and config.asks_people:
        container["ports"] = [{"name": "rating", "containerPort": RATING_PORT, "protocol": "TCP"}]
    return container


def _environment(workload: Workload, settings: Settings, role: str) -> list[Object]:
    values = {
        CONFIG_VARIABLE: f"{CONFIG_FOLDER}/config.json",
        PROGRESS_VARIABLE: f"{SCRATCH_FOLDER}/progress.json",
        VOLUMES_VARIABLE: VOLUMES_FOLDER,
        TERMINATION_LOG_VARIABLE: "/dev/termination-log",
        "HOME": SCRATCH_FOLDER,
        "PYTHONUNBUFFERED": "1",
    }
    if role != WORKER and not in_sandbox(workload):
        values[PROGRESS_CONFIG_MAP_VARIABLE] = progress_name(workload.name)
    if role == SERVER:
        values |= {HOST_VARIABLE: "0.0.0.0", READY_VARIABLE: f"{SCRATCH_FOLDER}/ready"}  # noqa: S104 - the pod's own
    if isinstance(workload.config, GatewayRun):
        values[ROUTES_CONFIG_MAP_VARIABLE] = routes_name(workload.name)
        if _keys_of(workload):
            values[API_KEYS_VARIABLE] = KEYS_FOLDER
    if isinstance(workload.config, EvaluateRun):
        # Said in any case: what the admin does not allow, neither a pod template nor a Secret allows.
        values[ALLOW_CODE_VARIABLE] = "1" if settings.allow_task_code else "0"
    if isinstance(workload.config, EvaluateRun) and workload.config.asks_people:
        values |= {
            HOST_VARIABLE: "0.0.0.0",  # noqa: S104 - the pod's own
            RATING_URL_VARIABLE: f"http://{rating_name(workload.name)}.{workload.namespace}.svc:{RATING_PORT}",
        }
    further: list[Object] = []
    if workload.adapters is not None:
        values[ADAPTERS_VARIABLE] = f"{ADAPTERS_FOLDER}/{ADAPTERS_KEY}"
    if isinstance(workload.config, ServeRun | GatewayRun):
        # Several pods share the ConfigMap.
        further = [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": PROGRESS_KEY_VARIABLE, "value": "$(POD_NAME).json"},
        ]
    if _spreads(workload):
        name = ray_name(workload.name)
        values |= {
            RAY_ADDRESS_VARIABLE: f"{workload.name}.{name}.{workload.namespace}.svc:{RAY_PORT}",
            WORKERS_PREFIX_VARIABLE: f"{workers_name(workload.name)}-",
            "RAY_AUTH_MODE": "token",
        }
        further = [
            {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": {"name": token_name(workload), "key": "token"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            # A host name ends after 63 characters; a pod's name may be longer.
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ]
    further += [
        {"name": each.variable, "valueFrom": {"secretKeyRef": {"name": each.name, "key": each.key}}}
        for each in workload.keys
    ]
    ours = [*({"name": name, "value": value} for name, value in values.items()), *further]
    taken = {each["name"] for each in ours}
    return [*(dict(each) for each in workload.pod_template.env if _name(each) not in taken), *ours]


def _name(variable: Mapping[str, Any]) -> Any:
    return variable.get("name")


def _resources(workload: Workload) -> Object:
    wanted = workload.resources
    amounts: Object = {}
    if wanted.cpu is not None:
        amounts["cpu"] = str(wanted.cpu)
    if wanted.memory is not None:
        amounts["memory"] = str(wanted.memory)
    if wanted.gpu:
        amounts["nvidia.com/gpu"] = str(wanted.gpu)
    return {"requests": amounts, "limits": amounts} if amounts else {}


def _keys_of(workload: Workload) -> str | None:
    """Return the Secret with the API keys that a gateway asks for."""
    return workload.routes.auth.api_keys_secret_ref.name if workload.routes and workload.routes.auth else None


def _mounts(workload: Workload) -> list[Object]:
    reads = isinstance(workload.config, ServeRun) or in_sandbox(workload)
    claims = claims_of(workload)
    return [
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": "scratch", "mountPath": SCRATCH_FOLDER},
        *(
            {"name": f"claim-{number}", "mountPath": f"{VOLUMES_FOLDER}/{claim}", "readOnly": reads}
            for number, claim in enumerate(claims)
        ),
        *([{"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True}] if _keys_of(workload) else []),
        *([{"name": "adapters", "mountPath": ADAPTERS_FOLDER, "readOnly": True}] if workload.adapters else []),
        *_own_folder(workload),
        *([{"name": "shm", "mountPath": "/dev/shm"}] if isinstance(workload.config, TrainRun) else []),  # noqa: S108
    ]


def _own_folder(workload: Workload) -> list[Object]:
    """Return the mount of the one folder that a sandbox may write to."""
    if not isinstance(workload.config, EvaluateRun) or workload.config.part is None or not in_sandbox(workload):
        return []
    _, claim, path = uris.split(workload.config.part)
    folder = path.rpartition("/")[0]
    number = claims_of(workload).index(claim)
    return [{"name": f"claim-{number}", "mountPath": f"{VOLUMES_FOLDER}/{claim}/{folder}", "subPath": folder}]


def _volumes(workload: Workload) -> list[Object]:
    volumes: list[Object] = [
        {"name": "config", "configMap": {"name": workload.name}},
        {"name": "scratch", "emptyDir": {}},
        # Numbered, because a claim may be called what a volume may not.
        *(
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, claim in enumerate(claims_of(workload))
        ),
    ]
    if keys := _keys_of(workload):
        volumes.append({"name": "keys", "secret": {"secretName": keys}})
    if workload.adapters is not None:
        volumes.append({"name": "adapters", "configMap": {"name": adapters_name(workload.name)}})
    if isinstance(workload.config, TrainRun):
        # Workers hand tensors to each other through shared memory; the default of 64 MiB is too small for them.
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
    return volumes
