"""Who names whom: a resource that changes wakes those that wait for it."""

from collections.abc import Callable, Sequence

from tunesmith_api.meta import Reference
from tunesmith_operator.controller.world import Key


class Dependents:
    """The references between resources, as last read."""

    def __init__(self, enqueue: Callable[[Key], None]) -> None:
        self.enqueue = enqueue
        self._named_by: dict[Key, frozenset[Key]] = {}
        self._dependents: dict[Key, set[Key]] = {}

    def set(self, key: Key, names: Sequence[Reference]) -> None:
        """Take note of what a resource names."""
        self._drop(key)
        named = frozenset(Key(each.kind, key.namespace, each.name) for each in names)
        if named:
            self._named_by[key] = named
        for each in named:
            self._dependents.setdefault(each, set()).add(key)

    def forget(self, key: Key) -> None:
        """Take note that a resource is gone; those that name it are to look again."""
        self._drop(key)
        for each in self.of(key):
            self.enqueue(each)

    def of(self, key: Key) -> list[Key]:
        """Return the resources that name this one."""
        return sorted(self._dependents.get(key, ()), key=str)

    def _drop(self, key: Key) -> None:
        for each in self._named_by.pop(key, frozenset()):
            others = self._dependents[each]
            others.discard(key)
            if not others:
                del self._dependents[each]
