"""The one address of a ModelServe: a Service in front of its gateways, of one revision's pods or of all of them."""

from tunesmith_api.resources import ModelServe
from tunesmith_api.serving.traffic import HttpRoute
from tunesmith_operator.backends.objects import (
    APPLIED_ANNOTATION,
    FRONT,
    INSTANCE_LABEL,
    OWNER_LABEL,
    OWNER_UID_LABEL,
    ROLE_LABEL,
    SERVER,
    Object,
    digest,
    front_name,
    owned_by,
    owner_labels,
)
from tunesmith_operator.planner import Front
from tunesmith_operator.planner.serving.traffic import ENGINE_PORT

NAME_LABEL = "app.kubernetes.io/name"


def objects(wanted: Front) -> tuple[Object, ...]:
    """Return the objects of a front, in the order in which to apply them. The last one carries a digest of them all.

    They are how many pods may be disrupted at a time, the HTTPRoute if there is one, and the Service.
    """
    parts = [_budget(wanted, wanted.owner.name, "tunesmith-serve")]
    if wanted.gateway:
        parts.append(_budget(wanted, f"{wanted.owner.name}-gateway", "tunesmith-gateway"))
    if wanted.route is not None:
        parts.append(_route(wanted, wanted.route))
    parts.append(_service(wanted))
    parts[-1]["metadata"]["annotations"] = {APPLIED_ANNOTATION: digest(tuple(parts))}
    return tuple(parts)


def _metadata(wanted: Front, name: str) -> Object:
    run = wanted.owner
    labels = {NAME_LABEL: "tunesmith-front", INSTANCE_LABEL: front_name(run.name), ROLE_LABEL: FRONT}
    return owned_by(run, name, labels | owner_labels(run))


def _service(wanted: Front) -> Object:
    """Return the Service. Its name and its port are the ModelServe's."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(wanted, wanted.owner.name),
        "spec": {
            "selector": _selector(wanted),
            "ports": [{"name": "http", "port": wanted.port, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _route(wanted: Front, route: HttpRoute) -> Object:
    backends = [{"name": name, "port": ENGINE_PORT, "weight": weight} for name, weight in wanted.weights]
    spec = {**route.to_json(), "rules": [{"backendRefs": backends}]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": _metadata(wanted, wanted.owner.name),
        "spec": {name: value for name, value in spec.items() if value},
    }


def _budget(wanted: Front, name: str, what: str) -> Object:
    """Return how many pods may be pushed out at a time: one."""
    labels = {NAME_LABEL: what, ROLE_LABEL: SERVER, **_whose(wanted)}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(wanted, name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
    }


def address_of(serve: ModelServe) -> str:
    """Return the URL of a ModelServe's Service."""
    meta = serve.metadata
    return f"http://{meta.name}.{meta.namespace}.svc:{serve.spec.port}"


def _selector(wanted: Front) -> dict[str, str]:
    if wanted.workload is not None:
        return {INSTANCE_LABEL: wanted.workload, ROLE_LABEL: SERVER}
    return {NAME_LABEL: "tunesmith-serve", ROLE_LABEL: SERVER, **_whose(wanted)}


def _whose(wanted: Front) -> dict[str, str]:
    run = wanted.owner
    return {OWNER_UID_LABEL: run.uid} if run.uid else {OWNER_LABEL: run.name}
