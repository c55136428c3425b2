"""The native backend: a workload becomes a Job, a Job with a StatefulSet, or a Deployment, and what those need."""

from tunesmith_api.contract import (
    ADAPTERS_KEY,
    RATING_PORT,
    ROUTES_KEY,
    AdapterSet,
    EvaluateRun,
    GatewayRun,
    ServeRun,
    TrainRun,
)
from tunesmith_api.queueing import several_need_kuberay
from tunesmith_api.traffic import Routes
from tunesmith_operator.backends import gangs
from tunesmith_operator.backends.objects import (
    ADAPTERS,
    APPLIED_ANNOTATION,
    CONFIG,
    DRIVER,
    ROUTES,
    SERVER,
    WORKER,
    Object,
    adapters_name,
    digest,
    in_sandbox,
    make,
    rating_name,
    ray_name,
    routes_name,
    selector,
    token_name,
    workers_name,
)
from tunesmith_operator.backends.pods import RAY_PORT, Settings, pod
from tunesmith_operator.backends.shared import RenderError, surroundings
from tunesmith_operator.planner import Workload

SETTLING_SECONDS = 3

__all__ = ["Object", "RenderError", "Settings", "render", "secret"]


def render(workload: Workload, settings: Settings) -> tuple[Object, ...]:
    """Return the objects that a workload becomes, in the order in which to apply them.

    The last one starts it; it carries a digest of them all. The token of a run of several pods is in a Secret of its
    own, see `secret`. Raises RenderError for storage that only the local shell has, for several pods that Kueue should
    hold, and for code that the cluster's admin does not allow.
    """
    if in_sandbox(workload) and not settings.allow_task_code:
        raise RenderError(
            f"suite {_suites(workload)} runs code that its tasks bring (harness.runsCode), which this cluster does not "
            "allow; drop the suite, or ask the cluster's admin to set allowTaskCode in the values of Tunesmith's chart"
        )
    if gangs.of(workload) == "kueue" and isinstance(workload.config, TrainRun) and workload.config.workers > 1:
        raise RenderError(
            several_need_kuberay("this attempt runs on the native backend", "choose backend kuberay for the next one")
        )
    parts, account = surroundings(workload)
    if group := gangs.pod_group(workload, settings.gangs):
        parts.append(group)
    if in_sandbox(workload):
        parts.append(_isolation(workload))
    config = workload.config
    if isinstance(config, ServeRun):
        if workload.adapters is not None:
            parts.append(_document(workload, workload.adapters, adapters_name(workload.name), ADAPTERS, ADAPTERS_KEY))
        parts += [_service(workload, config), _deployment(workload, settings, account)]
    elif isinstance(config, GatewayRun):
        assert workload.routes is not None  # noqa: S101 - a gateway has some
        parts.append(_document(workload, workload.routes, routes_name(workload.name), ROUTES, ROUTES_KEY))
        parts.append(_gateway(workload, settings, account))
    else:
        if isinstance(config, TrainRun) and config.workers > 1:
            parts += [_meeting_point(workload), _workers(workload, settings, account, config.workers - 1)]
        if isinstance(config, EvaluateRun) and config.asks_people:
            parts.append(_rating_service(workload))
        parts.append(_job(workload, settings, account))
    parts[-1]["metadata"]["annotations"] = {APPLIED_ANNOTATION: digest(tuple(parts))}
    return tuple(parts)


def secret(workload: Workload, token: str) -> Object | None:
    """Return the Secret that holds the token of a workload's Ray cluster, or None when it has no cluster.

    It is created once and never read back or changed: whoever may write it need not be able to read Secrets.
    """
    if not (isinstance(workload.config, TrainRun) and workload.config.workers > 1):
        return None
    name = token_name(workload)
    return make(workload, "v1", "Secret", name, CONFIG, type="Opaque", immutable=True, stringData={"token": token})


def _job(workload: Workload, settings: Settings, account: str | None) -> Object:
    spec = {
        # The resource owns its attempts, with their delays and their history; a Job is one of them.
        "backoffLimit": 0,
        "template": pod(workload, settings, DRIVER, account),
    }
    job = make(workload, "batch/v1", "Job", workload.name, DRIVER, spec=spec)
    gangs.hold(workload, job)
    return job


def _suites(workload: Workload) -> str:
    config = workload.config
    return ", ".join(suite.name for suite in config.suites) if isinstance(config, EvaluateRun) else ""


def _isolation(workload: Workload) -> Object:
    """Return the policy that lets nothing into the pod of a workload, and nothing out."""
    spec = {"podSelector": {"matchLabels": selector(workload, DRIVER)}, "policyTypes": ["Ingress", "Egress"]}
    return make(workload, "networking.k8s.io/v1", "NetworkPolicy", workload.name, CONFIG, spec=spec)


def _meeting_point(workload: Workload) -> Object:
    """Return the Service under whose name the workers find the driver, before either is ready."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"app.kubernetes.io/instance": workload.name},
        "ports": [{"name": "ray", "port": RAY_PORT, "targetPort": RAY_PORT, "protocol": "TCP"}],
    }
    return make(workload, "v1", "Service", ray_name(workload.name), WORKER, spec=spec)


def _workers(workload: Workload, settings: Settings, account: str | None, replicas: int) -> Object:
    spec = {
        "replicas": replicas,
        "serviceName": ray_name(workload.name),
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": selector(workload, WORKER)},
        "template": pod(workload, settings, WORKER, account),
    }
    return make(workload, "apps/v1", "StatefulSet", workers_name(workload.name), WORKER, spec=spec)


def _deployment(workload: Workload, settings: Settings, account: str | None) -> Object:
    spec = {
        "replicas": workload.replicas,
        # Until then the proxies of all nodes have heard of a pod that is ready.
        "minReadySeconds": SETTLING_SECONDS,
        "selector": {"matchLabels": selector(workload, SERVER)},
        "template": pod(workload, settings, SERVER, account),
    }
    return make(workload, "apps/v1", "Deployment", workload.name, SERVER, spec=spec)


def _service(workload: Workload, config: ServeRun) -> Object:
    spec = {
        "selector": selector(workload, SERVER),
        "ports": [{"name": "http", "port": config.port, "targetPort": "http", "protocol": "TCP"}],
    }
    return make(workload, "v1", "Service", workload.name, SERVER, spec=spec)


def _document(workload: Workload, document: Routes | AdapterSet, name: str, role: str, key: str) -> Object:
    """Return the ConfigMap of what a server goes by as it runs."""
    text = document.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    return make(workload, "v1", "ConfigMap", name, role, data={key: text})


def _gateway(workload: Workload, settings: Settings, account: str | None) -> Object:
    made = _deployment(workload, settings, account)
    # Never fewer than there should be.
    made["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return made


def _rating_service(workload: Workload) -> Object:
    """Return the Service of the page on which people vote."""
    spec = {
        "selector": selector(workload, DRIVER),
        "ports": [{"name": "http", "port": RATING_PORT, "targetPort": "rating", "protocol": "TCP"}],
    }
    return make(workload, "v1", "Service", rating_name(workload.name), DRIVER, spec=spec)
