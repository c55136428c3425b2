"""When a run has learnt enough: a decision from what its checkpoints were measured to be, and from nothing else."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tunesmith_api.evaluation import EarlyStopping, higher_is_better
from tunesmith_api.gates import number


@dataclass(frozen=True)
class Rule:
    """Stop when a metric has not improved by more than `min_delta` for `patience` evaluations in a row."""

    metric: str
    patience: int
    min_delta: float
    higher_is_better: bool

    @classmethod
    def of(cls, wanted: EarlyStopping) -> "Rule":
        """Return the rule of a spec; the metric knows its direction."""
        return cls(wanted.metric, wanted.patience, wanted.min_delta, higher_is_better(wanted.metric))

    def gain(self, value: float, over: float) -> float:
        """Return by how much a value is better than another; negative when it is worse."""
        return value - over if self.higher_is_better else over - value


@dataclass(frozen=True)
class Standing:
    """Where a run stands after some evaluations.

    `best` is the best value so far, reached first at `best_step`. `reference` is the value that the next one must
    improve on: the last that was an improvement, so that many small gains add up to one. `waited` counts the
    evaluations since then.
    """

    best_step: int | None = None
    best: float | None = None
    reference: float | None = None
    waited: int = 0
    stopped: bool = False

    def after(self, step: int, value: float, rule: Rule) -> "Standing":
        """Return where the run stands after one more evaluation; once it is to stop, nothing changes that.

        A value that is not a finite number is no improvement and never the best.
        """
        if self.stopped:
            return self
        now = self
        finite = math.isfinite(value)
        if finite and (self.best is None or rule.gain(value, self.best) > 0):
            now = replace(now, best_step=step, best=value)
        if finite and (self.reference is None or rule.gain(value, self.reference) > rule.min_delta):
            return replace(now, reference=value, waited=0)
        waited = self.waited + 1
        return replace(now, waited=waited, stopped=waited >= rule.patience)


def follow(values: Iterable[tuple[int, float]], rule: Rule) -> Standing:
    """Return where a run stands after these evaluations: their steps and values, in order."""
    standing = Standing()
    for step, value in values:
        standing = standing.after(step, value, rule)
    return standing


def sentence(standing: Standing, rule: Rule, step: int) -> str:
    """Return why a run ended at a step, and which weights it publishes."""
    best = "it was never a number, so the last weights are published"
    if standing.best is not None:
        best = f"best was {number(standing.best)} at step {standing.best_step}, whose weights are published"
    if not standing.stopped:
        return f"trained to step {step}; {rule.metric}: {best}"
    by = f" by more than {number(rule.min_delta)}" if rule.min_delta else ""
    times = "1 evaluation" if rule.patience == 1 else f"{rule.patience} evaluations"
    return f"stopped early at step {step}: {rule.metric} has not improved{by} for {times}; {best}"
