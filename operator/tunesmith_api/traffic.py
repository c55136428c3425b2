"""What the operator tells a gateway, and what a gateway tells of its traffic."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, StatusModel

# What a gateway says of requests, errors and latencies is of the last so many seconds.
WINDOW_SECONDS = 60


class GatewayPolicy(ApiModel):
    """What a gateway does with requests besides sending them on. Part of a ModelServe's spec and of the routes."""


class Upstream(ApiModel):
    """A revision that answers requests."""

    revision: int = Field(ge=1)
    # Base URL without /v1. None: nothing answers yet, or it is scaled to zero; requests for it are held.
    url: str | None = None
    # Share of the requests, in percent.
    weight: int = Field(ge=0, le=100)


class Routes(GatewayPolicy):
    """Where a gateway sends requests, and under which rules. It takes up a new one without a restart."""

    version: Literal[1] = 1
    # Counts the changes; a gateway tells which one it goes by.
    generation: int = Field(default=1, ge=1)
    upstreams: tuple[Upstream, ...] = ()
    # Gets a copy of each request; what it answers is dropped.
    shadow: Upstream | None = None


class RevisionTraffic(StatusModel):
    """What a gateway has seen of a revision."""

    revision: int = Field(ge=1)
    # Sent there since the gateway goes by its present routes.
    routed: int = Field(default=0, ge=0)
    # Of the last WINDOW_SECONDS: requests that ended, those that the revision failed (no connection, a status of 500 or
    # more, a stream that broke off, no answer in time), and seconds from a request's start to its answer's end.
    requests: int = Field(default=0, ge=0)
    errors: int = Field(default=0, ge=0)
    latency_p50_seconds: float | None = Field(default=None, ge=0)
    latency_p99_seconds: float | None = Field(default=None, ge=0)
    in_flight: int = Field(default=0, ge=0)
    # Held until it is ready.
    waiting: int = Field(default=0, ge=0)


class GatewayReport(StatusModel):
    """What one gateway process says of itself."""

    # Of the routes that it goes by.
    generation: int = Field(default=0, ge=0)
    revisions: tuple[RevisionTraffic, ...] = Field(default=(), max_length=16)
    # Requests held while no revision at all gets any.
    waiting: int = Field(default=0, ge=0)
    # When the last request came.
    last_request_at: datetime | None = None
