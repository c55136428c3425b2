"""What the workers of an attempt are told besides the run's config, and what they answer."""

import time
from dataclasses import dataclass

from tunesmith_api import conditions
from tunesmith_runtime.errors import RunError


@dataclass(frozen=True)
class Attempt:
    """When things happen, by the monotonic clock of the driver's machine, on which the first worker runs.

    `ends_at` is when its seconds are used up, None when they are not counted. `lost_at` is when workers were lost, of
    workers that take their place.
    """

    ends_at: float | None = None
    lost_at: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Return how many seconds are left in the driver's process; None when they are not counted."""
        return None if self.ends_at is None else self.ends_at - time.monotonic()


@dataclass
class Outcome:
    """How training ended: with which step, of how many, and whether before it was done."""

    step: int = 0
    total_steps: int = 0
    partial: bool = False

    def note(self, step: int, total_steps: int, *, partial: bool) -> None:
        """Take up how a training of the run has ended; `step` and `total_steps` are those of the run."""
        self.step, self.total_steps, self.partial = step, total_steps, partial


class PodEndingError(RunError):
    """Pods of the run were told to end, which are `nodes` of Ray's; what they had learnt is saved."""

    reason = conditions.WORKER_LOST

    def __init__(self, pods: tuple[str, ...], step: int, nodes: frozenset[str] = frozenset()) -> None:
        super().__init__(
            f"{', '.join(pods)} was told to end (SIGTERM), as by an eviction or a deletion; checkpoint {step} was taken"
        )
        self.pods = pods
        self.step = step
        self.nodes = nodes

    def __reduce__(self) -> tuple[type["PodEndingError"], tuple[tuple[str, ...], int, frozenset[str]]]:
        return type(self), (self.pods, self.step, self.nodes)


class RegroupingError(RunError):
    """The workers ended with a checkpoint, to begin anew as another number of them."""

    reason = conditions.RESIZED

    def __init__(self, step: int) -> None:
        super().__init__(f"the workers were told to begin anew with others; checkpoint {step} was taken")
        self.step = step

    def __reduce__(self) -> tuple[type["RegroupingError"], tuple[int]]:
        return type(self), (self.step,)


class NothingLearntError(RunError):
    """The attempt's time was over before there was anything to publish."""

    reason = conditions.BUDGET_SPENT
    retryable = False

    def __init__(self) -> None:
        super().__init__(
            "the time of this run was over before its first step, and there is no checkpoint: nothing was learnt that "
            "could be published. Raise spec.runPolicy.gpuHours"
        )

    def __reduce__(self) -> tuple[type["NothingLearntError"], tuple[()]]:
        return type(self), ()
