"""Which way requests come to a ModelServe's pods."""

from typing import Literal

from pydantic import Field

from tunesmith_api.base import Resources
from tunesmith_api.podtemplate import PodTemplate
from tunesmith_api.serving import sticky

TrafficProvider = Literal["replicas", "gateway", "gatewayAPI"]


class Traffic(sticky.Traffic):
    """The way of the requests, and how they are shared out."""

    provider: TrafficProvider = Field(
        default="replicas",
        description="replicas: a Service in front of the pods; shares are those of the pods. gateway: Tunesmith's own "
        "gateway, with exact shares and all that it does with requests. gatewayAPI: an HTTPRoute, where the cluster "
        "serves the Gateway API.",
    )
    replicas: int = Field(default=1, ge=1, le=100, description="Pods of the gateway.")
    resources: Resources = Field(default=Resources(), description="What each pod of the gateway asks for.")
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Where and how the gateway's pods run.")
