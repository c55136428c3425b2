"""The storage that a run config names."""

from collections.abc import Iterator
from typing import Any

from tunesmith_api import uris
from tunesmith_api.contract import RunConfig
from tunesmith_operator.planner import Workload

# Fields whose values are of people's own wording and may begin like a URI without being one.
_WORDING = {"jsonSchema", "labels", "noAnswer", "prompts", "regex", "template", "toxicLabels"}


def uris_in(config: RunConfig) -> tuple[str, ...]:
    """Return the storage URIs of a run config, each once, in the order of its fields."""
    return tuple(
        dict.fromkeys(text for text in _strings(config.to_json()) if text.startswith(("pvc://", "s3://", "file://")))
    )


def uris_of(workload: Workload) -> tuple[str, ...]:
    """Return the storage URIs that a workload names: its config's, and what a gateway captures to and reads."""
    routes = workload.routes
    capture, retrieval = (routes.capture, routes.retrieval) if routes else (None, None)
    drift = routes.watch.drift if routes and routes.watch else None
    places = (capture, drift.reference if drift else None)
    return (
        *uris_in(workload.config),
        *(each.uri for each in places if each),
        *(retrieval.uris if retrieval else ()),
    )


def claims_of(workload: Workload) -> tuple[str, ...]:
    """Return the names of the persistent volume claims that a workload's URIs name, each once, sorted."""
    return tuple(sorted({uris.split(uri).authority for uri in uris_of(workload) if uri.startswith("pvc://")}))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _WORDING:
                yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
