"""Metrics of a part of a suite: SUITE/PART/METRIC, of a class, a stream or a kind of question."""

import re
from collections.abc import Collection

# One word of a metric's name; other names of classes and streams cannot stand in one.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def is_part(name: str) -> bool:
    """Return whether SUITE/NAME/METRIC can be the name of a metric."""
    return _PART.fullmatch(name) is not None


def of_some_part(metric: str, metrics: Collection[str]) -> bool:
    """Return whether a bare name is PART/METRIC, with one of the metrics and any part."""
    part, slash, name = metric.partition("/")
    return bool(slash) and name in metrics and is_part(part)
