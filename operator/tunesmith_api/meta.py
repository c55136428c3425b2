"""Object metadata and conditions, as the Kubernetes API conventions define them."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from tunesmith_api.base import DnsLabel, Kind, ResourceName, StatusModel, Time


class ObjectMeta(StatusModel):
    """The fields of an object's metadata that Tunesmith reads."""

    name: ResourceName
    namespace: DnsLabel = "default"
    uid: str = ""
    generation: int = 1
    creation_timestamp: Time | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Condition(StatusModel):
    """One aspect of a resource's state."""

    type: str = Field(max_length=64, description="Aspect that the condition speaks of.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(max_length=128, description="CamelCase word for programs; documented in the reference.")
    message: str = Field(max_length=4096, description="Sentence for people.")
    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that this was decided from.")
    last_transition_time: Time = Field(description="When `status` last changed.")


class Reference(StatusModel):
    """A resource of the same namespace, by kind and name."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
