"""How many resources stand where, as metrics."""

from tunesmith_operator.controller import metrics
from tunesmith_operator.controller.world import Key


class Summary:
    """The phase of each resource, and why it is stalled if it is."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[str, str | None]] = {}

    def set(self, key: Key, phase: str, stalled: str | None) -> None:
        """Take note of where a resource stands."""
        self.forget(key)
        self._known[key] = (phase, stalled)
        metrics.RESOURCES.labels(key.kind, key.namespace, phase).inc()
        if stalled:
            metrics.STALLED.labels(key.kind, key.namespace, stalled).inc()

    def forget(self, key: Key) -> None:
        """Take note that a resource is gone."""
        if key not in self._known:
            return
        phase, stalled = self._known.pop(key)
        metrics.RESOURCES.labels(key.kind, key.namespace, phase).dec()
        if stalled:
            metrics.STALLED.labels(key.kind, key.namespace, stalled).dec()
