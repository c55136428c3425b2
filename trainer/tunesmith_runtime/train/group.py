"""The workers that train together; a single one is a group of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
_own = threading.local()


@contextmanager
def connected_by(connections: torch.distributed.ProcessGroup | None) -> Iterator[None]:
    """Have this thread talk over connections of its own, so that another one can talk at the same time."""
    before, _own.connections = getattr(_own, "connections", None), connections
    try:
        yield
    finally:
        _own.connections = before


def is_first() -> bool:
    """Return whether this is the worker that acts for all."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def rank() -> int:
    """Return this worker's number."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def wait_for_all() -> None:
    """Return once every worker has come here."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier(group=_connections())


def gather(value: T) -> list[T]:
    """Return what every worker gave, in the order of their numbers."""
    if not torch.distributed.is_initialized():
        return [value]
    values: list[T | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value, group=_connections())
    return [each for each in values if each is not None]


def _connections() -> torch.distributed.ProcessGroup | None:
    return getattr(_own, "connections", None)
