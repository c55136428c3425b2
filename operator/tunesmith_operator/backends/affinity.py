"""Keeping the pods of an attempt away from nodes, as far as there are others."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith_operator.backends.objects import Object

# The most that a preference may weigh.
_WEIGHT = 100


def affinity(wanted: Mapping[str, Any] | None, avoided: Sequence[str]) -> Object | None:
    """Return the affinity that a pod template wants, with a preference for nodes other than the avoided ones."""
    if not avoided:
        return dict(wanted) if wanted else None
    elsewhere = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": list(avoided)}
    preference = {"weight": _WEIGHT, "preference": {"matchExpressions": [elsewhere]}}
    merged = dict(wanted or {})
    node = dict(merged.get("nodeAffinity") or {})
    kind = "preferredDuringSchedulingIgnoredDuringExecution"
    node[kind] = [*(node.get(kind) or ()), preference]
    return merged | {"nodeAffinity": node}
