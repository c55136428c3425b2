"""What a user may add to the pods of a resource, in Kubernetes' own words."""

from typing import Annotated, Any

from pydantic import Field, JsonValue, StringConstraints

from tunesmith_api.base import ApiModel, DnsLabel, ObjectName

# Kubernetes' own objects: the API server checks them when the pods are made.
_AS_IN_KUBERNETES: dict[str, JsonValue] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
KubernetesObject = Annotated[dict[str, Any], Field(json_schema_extra=_AS_IN_KUBERNETES)]
_LabelValue = Annotated[str, StringConstraints(max_length=253)]
_ATOMIC: dict[str, JsonValue] = {"x-kubernetes-list-type": "atomic"}


class LocalReference(ApiModel):
    """An object of the same namespace."""

    name: ObjectName = Field(description="Its name.")


class PodTemplate(ApiModel):
    """Where and how pods run. Every field is the one of the same name in a Kubernetes pod."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = Field(
        default=None, description="Image of the container, built on the runtime's. Default: the operator's own choice."
    )
    labels: dict[str, _LabelValue] = Field(default={}, description="Labels of the pods, besides Tunesmith's own.")
    annotations: dict[str, Annotated[str, StringConstraints(max_length=4096)]] = Field(
        default={}, description="Annotations of the pods."
    )
    node_selector: dict[str, _LabelValue] = Field(default={}, description="Labels that a node must have.")
    tolerations: tuple[KubernetesObject, ...] = Field(
        default=(), max_length=32, description="Taints of nodes that the pods put up with.", json_schema_extra=_ATOMIC
    )
    affinity: KubernetesObject | None = Field(default=None, description="Rules of affinity and anti-affinity.")
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the pods.")
    runtime_class_name: ObjectName | None = Field(default=None, description="RuntimeClass of the pods.")
    image_pull_secrets: tuple[LocalReference, ...] = Field(
        default=(), max_length=16, description="Secrets to pull images with.", json_schema_extra=_ATOMIC
    )
    env: tuple[KubernetesObject, ...] = Field(
        default=(),
        max_length=64,
        description="Environment variables: name with value or valueFrom. Those that Tunesmith sets itself win.",
        json_schema_extra=_ATOMIC,
    )
    volumes: tuple[KubernetesObject, ...] = Field(
        default=(), max_length=32, description="Volumes besides those that URIs name.", json_schema_extra=_ATOMIC
    )
    volume_mounts: tuple[KubernetesObject, ...] = Field(
        default=(), max_length=32, description="Where `volumes` are mounted.", json_schema_extra=_ATOMIC
    )
    service_account_name: DnsLabel | None = Field(
        default=None,
        description="ServiceAccount of the pods, for cloud identities. Default: one made for the run. Either may "
        "report the run's progress and is given no other right.",
    )
