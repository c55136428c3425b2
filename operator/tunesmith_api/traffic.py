"""What the operator tells a gateway, and what a gateway tells of its traffic."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, StatusModel
from tunesmith_api.serving.access import Auth, Limits
from tunesmith_api.serving.bounds import Hold, RequestBounds
from tunesmith_api.serving.capture import Capture
from tunesmith_api.serving.prompt import Prompt
from tunesmith_api.serving.retrieval import Retrieval
from tunesmith_api.serving.sticky import Traffic
from tunesmith_api.serving.tools import Tools
from tunesmith_api.serving.watch import WatchPolicy, WatchReport

# What a gateway says of requests, errors and latencies is of the last so many seconds.
WINDOW_SECONDS = 60


class GatewayPolicy(ApiModel):
    """What a gateway does with requests besides sending them on. Part of a ModelServe's spec and of the routes."""

    auth: Auth | None = Field(default=None, description="Who may ask. By default everybody who can reach the endpoint.")
    limits: Limits | None = Field(
        default=None,
        description="How much each API key may ask that has no limits of its own; without keys, all clients together. "
        "Several gateways share them evenly.",
    )
    requests: RequestBounds = Field(
        default=RequestBounds(), description="What a request may be, and how long it may take."
    )
    hold: Hold = Field(
        default=Hold(), description="What happens to requests while no revision is ready, as when it is scaled to zero."
    )
    capture: Capture | None = Field(
        default=None, description="Keep requests and answers on storage, for looking at them and for training."
    )
    log_contents: bool = Field(
        default=False,
        description="Log the texts of requests and answers, shortened and without personal data. By default the log "
        "says only who asked, what answered, how long it took and how many tokens it was.",
    )
    retrieval: Retrieval | None = Field(
        default=None, description="Documents whose passages chats are answered from, with citations."
    )
    tools: Tools | None = Field(default=None, description="Tools that the gateway runs when the model calls them.")


class Upstream(ApiModel):
    """A revision that answers requests."""

    revision: int = Field(ge=1)
    # Base URL without /v1. None: nothing answers yet, or it is scaled to zero; requests for it are held.
    url: str | None = None
    # Share of the requests, in percent.
    weight: int = Field(ge=0, le=100)
    # Its adapters, by the names that clients use.
    adapters: tuple[str, ...] = ()
    # What its chat requests are told first.
    prompt: Prompt | None = None
    # Stands for the model: vectors of another one mean something else.
    model: str | None = None


class Routes(GatewayPolicy):
    """Where a gateway sends requests, and under which rules. It takes up a new one without a restart."""

    version: Literal[1] = 1
    # Stands for what they say: other routes have another. A gateway tells which ones it goes by.
    generation: int = Field(default=1, ge=1)
    # How many gateways there are: each keeps its part of the limits.
    gateways: int = Field(default=1, ge=1, le=1000)
    traffic: Traffic = Field(default=Traffic(), description="How requests are shared out among revisions.")
    upstreams: tuple[Upstream, ...] = ()
    # Gets a copy of each request; what it answers is dropped.
    shadow: Upstream | None = None
    # What is watched of the requests and the answers.
    watch: WatchPolicy | None = None


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
    watch: WatchReport | None = None
