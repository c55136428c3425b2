"""Which trial comes next, and which one ends early: Ray Tune's, with what the search already knows.

Import it after `environment.prepare()`: Ray reads its settings once, when it is imported.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from tunesmith_api.contract import TrainRun
from tunesmith_api.evaluation import higher_is_better
from tunesmith_api.tuning import MOST_STEPS
from tunesmith_runtime.train.tuning.reporting import STEP, VALUE
from tunesmith_runtime.train.tuning.table import Table


class InOrder(BasicVariantGenerator):
    """Hands out the trials in their order, `at_once` at the same time, until `is_over` says that it is enough."""

    def __init__(self, at_once: int, is_over: Callable[[], bool]) -> None:
        super().__init__(max_concurrent=at_once)
        self._is_over = is_over

    def next_trial(self) -> RayTrial | None:
        """Return the next trial, or None when there is none, or enough of them run."""
        if self._is_over():
            self.set_finished()
        return super().next_trial()

    def get_state(self) -> dict[str, Any]:
        """Return what Ray keeps of it, which nobody reads: a run goes on from its table."""
        return {}


@dataclass(frozen=True)
class _Earlier:
    """A trial that is over, as a scheduler knows it."""

    trial_id: str


def scheduler(config: TrainRun, table: Table) -> TrialScheduler:
    """Return the scheduler that the spec names; it knows how the trials did that are over."""
    wanted = table.tuning.scheduler
    if wanted.type == "none":
        return FIFOScheduler()
    asha = ASHAScheduler(
        time_attr=STEP,
        metric=VALUE,
        mode="max" if higher_is_better(table.tuning.metric) else "min",
        max_t=MOST_STEPS,
        grace_period=wanted.grace_steps or config.checkpoints.every_steps,
        reduction_factor=wanted.reduction_factor,
    )
    for each in table.trials:
        if each.is_over and each.reports:
            earlier = _Earlier(f"earlier-{each.number}")
            asha.on_trial_add(None, earlier)
            for step, value in each.reports:
                asha.on_trial_result(None, earlier, {STEP: step, VALUE: value})
    return asha
