"""Whose pods requests go to: the routes of the gateways, and what is behind the one address."""

from tunesmith_api.contract import GatewayRun, RunIdentity
from tunesmith_api.endpoint import SecretKey
from tunesmith_api.resources import ModelServe
from tunesmith_api.serving import sticky
from tunesmith_api.serving.revision import Revision
from tunesmith_api.serving.watch import WatchPolicy
from tunesmith_api.traffic import GatewayPolicy, GatewayReport, Routes, Upstream
from tunesmith_operator.planner.serving import loading
from tunesmith_operator.planner.serving.naming import gateway_name, numbered, revision_name
from tunesmith_operator.planner.serving.shares import Shares
from tunesmith_operator.planner.types import Front, Observed, ObservedWorkload, Workload

# In a cluster, where each pod has an address of its own. On one machine the gateway has the resource's port.
GATEWAY_PORT = 8080
ENGINE_PORT = 8000
# From SIGTERM to SIGKILL, for answers that are under way.
GRACE_SECONDS = 60


def has_gateway(serve: ModelServe) -> bool:
    """Return whether requests come through a gateway of ours."""
    return serve.spec.traffic.provider == "gateway"


def identity(serve: ModelServe, number: int) -> RunIdentity:
    """Return who a server of a revision works for."""
    meta = serve.metadata
    return RunIdentity(
        kind="ModelServe", namespace=meta.namespace, name=meta.name, uid=meta.uid, attempt=max(number, 1)
    )


def engine_port(serve: ModelServe, observed: Observed) -> int:
    """Return the port of an engine; 0 is a free one."""
    if observed.address is not None:
        return ENGINE_PORT
    return 0 if has_gateway(serve) else serve.spec.port


def routes(
    serve: ModelServe, stable: Revision | None, canary: Revision | None, shares: Shares, observed: Observed
) -> Routes:
    """Return where gateways send requests. A new revision of which nothing answers gets none."""
    policy = {name: getattr(serve.spec, name) for name in GatewayPolicy.model_fields}
    weight = shares.weight
    if stable is not None and canary is not None and not _answers(serve, canary, observed):
        weight = 0
    upstreams = []
    if stable is not None:
        alone = _upstream(serve, stable, 100 - weight if canary is not None else 100, observed)
        # Requests wait at the gateway before the last pod goes.
        upstreams.append(alone if shares.stable else alone.model_copy(update={"url": None}))
    if canary is not None and weight:
        upstreams.append(_upstream(serve, canary, weight, observed))
    shared = sticky.Traffic(sticky=serve.spec.traffic.sticky)
    watch = serve.spec.watch and WatchPolicy(drift=serve.spec.watch.drift, watcher=serve.spec.watch.watcher)
    replicas = serve.spec.traffic.replicas
    wanted = Routes(**policy, traffic=shared, gateways=replicas, upstreams=tuple(upstreams), watch=watch)
    return numbered(wanted)


def _upstream(serve: ModelServe, revision: Revision, weight: int, observed: Observed) -> Upstream:
    seen = observed.workloads.get(revision_name(serve, revision.number))
    url = seen.url if seen and seen.ready else None
    template = revision.template
    return Upstream(
        revision=revision.number,
        url=url,
        weight=weight,
        adapters=loading.loaded_by_all(revision, seen),
        prompt=template.prompt,
        model=(template.model.digest or template.model.uri) if serve.spec.retrieval else None,
    )


def _answers(serve: ModelServe, revision: Revision, observed: Observed) -> bool:
    seen = observed.workloads.get(revision_name(serve, revision.number))
    return seen is not None and seen.ready


def gateway(serve: ModelServe, wanted: Routes, observed: Observed) -> Workload:
    """Return the gateway."""
    traffic, meta = serve.spec.traffic, serve.metadata
    port = serve.spec.port if observed.address is None else GATEWAY_PORT
    drift = wanted.watch.drift if wanted.watch else None
    reads = wanted.capture or wanted.retrieval or (drift and drift.reference)
    return Workload(
        name=gateway_name(serve),
        namespace=meta.namespace,
        resources=traffic.resources,
        replicas=traffic.replicas,
        pod_template=traffic.pod_template,
        secrets=tuple(each.name for each in serve.spec.secret_refs) if reads else (),
        keys=_keys(wanted),
        config=GatewayRun(run=identity(serve, 1), port=port, grace_seconds=GRACE_SECONDS),
        routes=wanted,
    )


def _keys(wanted: Routes) -> tuple[SecretKey, ...]:
    """Return the keys of what the gateway asks itself: the endpoint of embeddings, tools, and who grades answers."""
    embeddings = wanted.retrieval.embeddings if wanted.retrieval else None
    watcher = wanted.watch.watcher if wanted.watch else None
    named = [embeddings.api_key_secret_ref] if embeddings else []
    named += [watcher.endpoint.api_key_secret_ref] if watcher else []
    named += [each.headers_secret_ref for each in (wanted.tools.http if wanted.tools else ())]
    return tuple(dict.fromkeys(each for each in named if each))


def reports(serve: ModelServe, observed: Observed) -> tuple[GatewayReport, ...]:
    """Return what the gateways that are ready say."""
    seen = observed.workloads.get(gateway_name(serve))
    return seen.gateways if seen else ()


def settled(serve: ModelServe, wanted: Routes, observed: Observed) -> bool:
    """Return whether requests go where they should: there are gateways, and all that are ready go by the routes."""
    if not has_gateway(serve):
        return True
    told = reports(serve, observed)
    return bool(told) and all(each.generation == wanted.generation for each in told)


def front(serve: ModelServe, stable: int | None, canary: int | None, shares: Shares) -> Front:
    """Return the one address: in front of the gateways, of one revision's pods, or of those of two."""
    behind: str | None
    if has_gateway(serve):
        behind = gateway_name(serve)
    elif canary is None or (stable is not None and shares.weight == 0 and shares.stable):
        behind = revision_name(serve, stable or canary or 1)
    elif stable is None or not shares.stable:
        behind = revision_name(serve, canary)
    else:
        behind = None
    route = serve.spec.traffic.route
    weight = shares.weight if canary is not None else 0
    numbers = ((stable, 100 - weight), (canary, weight))
    return Front(
        owner=identity(serve, 1),
        port=serve.spec.port,
        workload=behind,
        gateway=has_gateway(serve),
        route=route,
        weights=tuple((revision_name(serve, number), share) for number, share in numbers if number) if route else (),
        unroute=route is None and serve.status.http_route is not None,
    )


def address(serve: ModelServe, behind: ObservedWorkload | None, observed: Observed) -> str | None:
    """Return where clients find the ModelServe, when it answers."""
    if has_gateway(serve):
        behind = observed.workloads.get(gateway_name(serve))
    if behind is None or not behind.ready:
        return None
    return observed.address or behind.url
