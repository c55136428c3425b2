"""Which way requests come to a ModelServe's pods."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tunesmith_api.base import ApiModel, DnsLabel, ObjectName, Resources
from tunesmith_api.podtemplate import PodTemplate
from tunesmith_api.serving import sticky

ROUTE_OF_GATEWAY_API = "provider gatewayAPI and route belong together; set both, or neither"

TrafficProvider = Literal["replicas", "gateway", "gatewayAPI"]


class ParentReference(ApiModel):
    """A Gateway, or one of its listeners."""

    name: ObjectName = Field(description="Name of the Gateway.")
    namespace: DnsLabel | None = Field(default=None, description="Its namespace. Default: the ModelServe's own.")
    section_name: ObjectName | None = Field(default=None, description="Name of the listener. Default: all of them.")


class HttpRoute(ApiModel):
    """The HTTPRoute of a ModelServe."""

    parent_refs: tuple[ParentReference, ...] = Field(
        min_length=1,
        max_length=8,
        description="Gateways that requests come in by.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    hostnames: tuple[ObjectName, ...] = Field(
        default=(),
        max_length=16,
        description="Host names that requests are sent to. Default: any.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class Traffic(sticky.Traffic):
    """The way of the requests, and how they are shared out."""

    provider: TrafficProvider = Field(
        default="replicas",
        description="replicas: a Service in front of the pods; shares are those of the pods. gateway: Tunesmith's own "
        "gateway, with exact shares and all that it does with requests. gatewayAPI: an HTTPRoute, where the cluster "
        "serves the Gateway API.",
    )
    route: HttpRoute | None = Field(default=None, description="Of provider gatewayAPI: the HTTPRoute that is made.")
    replicas: int = Field(default=1, ge=1, le=100, description="Pods of the gateway.")
    resources: Resources = Field(default=Resources(), description="What each pod of the gateway asks for.")
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Where and how the gateway's pods run.")

    @model_validator(mode="after")
    def _route_of_gateway_api(self) -> Self:
        if (self.provider == "gatewayAPI") != (self.route is not None):
            raise ValueError(ROUTE_OF_GATEWAY_API)
        return self
