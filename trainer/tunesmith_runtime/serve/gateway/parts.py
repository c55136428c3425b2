"""What the gateway's endpoints share."""

import time
from dataclasses import dataclass, field

from tunesmith_api.serving.access import Limits, Scope
from tunesmith_api.traffic import Routes
from tunesmith_runtime.serve.gateway.exchange import Exchange
from tunesmith_runtime.serve.gateway.forwarding import Forwarder
from tunesmith_runtime.serve.gateway.incoming import BodyRoom, Incoming
from tunesmith_runtime.serve.gateway.keys import ANYBODY, Caller, Keys
from tunesmith_runtime.serve.gateway.limits import Limiter, share
from tunesmith_runtime.serve.gateway.logs import Say, say
from tunesmith_runtime.serve.gateway.metrics import Metrics
from tunesmith_runtime.serve.gateway.records import Records
from tunesmith_runtime.serve.gateway.retrieving import Retriever
from tunesmith_runtime.serve.gateway.routing import Router
from tunesmith_runtime.serve.gateway.shadowing import Shadows
from tunesmith_runtime.serve.gateway.tooling import Tooling
from tunesmith_runtime.serve.gateway.tracing import Tracing
from tunesmith_runtime.serve.gateway.traffic import Traffic
from tunesmith_runtime.serve.gateway.watching import Watching

# Bytes of requests' bodies that are held at once, by all requests together.
MOST_BODY_BYTES = 256 * 2**20


@dataclass
class Parts:
    """One gateway's parts, by what they do."""

    # What clients call the model: the ModelServe's name.
    model: str
    router: Router
    traffic: Traffic
    forwarder: Forwarder
    shadows: Shadows
    keys: Keys
    metrics: Metrics
    tracing: Tracing
    records: Records
    retriever: Retriever
    tooling: Tooling
    watching: Watching
    limiter: Limiter = field(default_factory=Limiter)
    room: BodyRoom = field(default_factory=lambda: BodyRoom(MOST_BODY_BYTES))
    log: Say = say
    started: int = field(default_factory=lambda: int(time.time()))
    # Set on SIGTERM.
    ending: bool = False

    def caller(self, request: Incoming, scope: Scope | None, exchange: Exchange) -> tuple[Caller, Routes]:
        """Return who asks, and the routes that the request goes by. Raises Refusal."""
        routes = self.router.required()
        request.check()
        caller = ANYBODY
        if routes.auth is not None:
            caller = self.keys.caller(request.headers.get("authorization"), scope)
        exchange.caller = caller.name
        return caller, routes

    def limits_of(self, caller: Caller, routes: Routes) -> Limits:
        """Return how much a caller may ask of this gateway."""
        return share(caller.limits if caller.limits is not None else routes.limits, routes.gateways)
