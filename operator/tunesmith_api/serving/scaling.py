"""How many pods a ModelServe has, by how much they have to do."""

from typing import Self

from pydantic import Field, model_validator

from tunesmith_api.base import ApiModel, StatusModel, Time

BOUNDS_CROSSED = "minReplicas is above maxReplicas; lower it, or raise maxReplicas"


class Scaling(ApiModel):
    """Bounds of the number of pods, and what each of them should have to do."""

    min_replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Fewest pods. 0: none at all while nobody asks; the gateway holds the first request until one "
        "answers.",
    )
    max_replicas: int = Field(ge=1, le=1000, description="Most pods.")
    target_in_flight: int = Field(
        default=8, ge=1, le=10_000, description="Requests at a time that a pod should have, those that wait included."
    )
    scale_down_delay_seconds: int = Field(
        default=300,
        ge=0,
        le=86_400,
        description="How long fewer pods must have been enough before some go; with minReplicas 0, how long nobody "
        "must have asked before the last one goes.",
    )

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(BOUNDS_CROSSED)
        return self


class ScalingStatus(StatusModel):
    """What the gateways' load asks for."""

    replicas: int = Field(ge=0, description="Pods that the revision that serves should have.")
    fewer_since: Time | None = Field(default=None, description="Since when fewer would be enough.")
