"""What a server leaves once its pods are gone: a ModelServe has revisions without end, and each would leave some."""

from collections.abc import Iterator

from tunesmith_operator.backends.children import Children
from tunesmith_operator.backends.objects import OWNER_UID_LABEL, Object, adapters_name, progress_name, routes_name
from tunesmith_operator.controller.client import Api


def left(children: dict[str, Children], wanted: set[str]) -> Iterator[Children]:
    """Yield the servers that are gone and of which something is left."""
    for name, each in children.items():
        if name not in wanted and each.progress is not None and each.deployment is None and not each.pods:
            yield each


async def sweep(api: Api, children: Children) -> None:
    """Delete the config, the adapters and the rights of a server's pods, and what they reported.

    What the pods reported goes last: as long as it is there, this is begun anew. An object of such a name that belongs
    to somebody else stays.
    """
    assert children.progress is not None  # noqa: S101 - see `left`
    meta, name = children.progress["metadata"], children.name
    for kind, each in (
        ("RoleBinding", name),
        ("Role", name),
        ("ServiceAccount", name),
        ("ConfigMap", adapters_name(name)),
        ("ConfigMap", routes_name(name)),
        ("ConfigMap", name),
        ("ConfigMap", progress_name(name)),
    ):
        there = await api.get(kind, meta["namespace"], each)
        if there is not None and _owner(there) == _owner(children.progress):
            only = {"uid": there["metadata"]["uid"]}
            await api.delete(kind, meta["namespace"], each, only=only)


def _owner(each: Object) -> str | None:
    found: str | None = (each["metadata"].get("labels") or {}).get(OWNER_UID_LABEL)
    return found
