"""The one address of a ModelServe: a Service in front of its gateways, of one revision's pods or of all of them."""

from tunesmith_api.resources import ModelServe
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

NAME_LABEL = "app.kubernetes.io/name"


def front(wanted: Front) -> Object:
    """Return the Service. Its name and its port are the ModelServe's."""
    run = wanted.owner
    labels = {NAME_LABEL: "tunesmith-front", INSTANCE_LABEL: front_name(run.name), ROLE_LABEL: FRONT}
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned_by(run, run.name, labels | owner_labels(run)),
        "spec": {
            "selector": _selector(wanted),
            "ports": [{"name": "http", "port": wanted.port, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    service["metadata"]["annotations"] = {APPLIED_ANNOTATION: digest((service,))}
    return service


def address_of(serve: ModelServe) -> str:
    """Return the URL of a ModelServe's Service."""
    meta = serve.metadata
    return f"http://{meta.name}.{meta.namespace}.svc:{serve.spec.port}"


def _selector(wanted: Front) -> dict[str, str]:
    if wanted.workload is not None:
        return {INSTANCE_LABEL: wanted.workload, ROLE_LABEL: SERVER}
    run = wanted.owner
    whose = {OWNER_UID_LABEL: run.uid} if run.uid else {OWNER_LABEL: run.name}
    return {NAME_LABEL: "tunesmith-serve", ROLE_LABEL: SERVER, **whose}
