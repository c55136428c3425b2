"""What the checkpoints of a run were measured to be; each checkpoint carries what was known when it was saved."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tunesmith_api.finetunejob import MetricValue
from tunesmith_runtime.train.stopping import Rule, Standing

LEDGER = "measurements.json"


@dataclass
class Measured:
    """The metrics of one checkpoint, those that are finite numbers."""

    step: int
    metrics: dict[str, float] = field(default_factory=dict)

    def values(self) -> tuple[MetricValue, ...]:
        """Return them as status holds them."""
        return tuple(MetricValue(metric=name, value=value) for name, value in self.metrics.items())


@dataclass
class Ledger:
    """What is known of a run's checkpoints, and what follows.

    `latest` and `best` are the newest and the best that were measured, and `awaited` is the step of the one whose
    suites are still to be run. `owed` is the step of one that was saved in a hurry, of which nothing was measured yet
    that would otherwise have been before. A run that goes on from a checkpoint goes on from its ledger.
    """

    rule: Rule | None = None
    standing: Standing = field(default_factory=Standing)
    latest: Measured | None = None
    best: Measured | None = None
    awaited: int | None = None
    owed: int | None = None

    @property
    def stopped(self) -> bool:
        """Whether training is to end."""
        return self.standing.stopped

    def note(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take down metrics of the checkpoint of a step; several times for one step when they come one by one."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        if self.latest is None or self.latest.step < step:
            self.latest = Measured(step)
        for known in (self.latest, self.best):
            if known is not None and known.step == step:
                known.metrics.update(finite)
        if self.rule is None or self.rule.metric not in metrics:
            return
        self.standing = self.standing.after(step, metrics[self.rule.metric], self.rule)
        if self.standing.best_step == step:
            all_known = self.latest.metrics if self.latest.step == step else finite
            self.best = Measured(step, dict(all_known))

    def metrics(self) -> tuple[MetricValue, ...]:
        """Return those of the newest checkpoint that was measured."""
        return self.latest.values() if self.latest else ()

    def of(self, step: int) -> tuple[MetricValue, ...]:
        """Return what is known of the checkpoint of a step."""
        for known in (self.latest, self.best):
            if known is not None and known.step == step:
                return known.values()
        return ()

    def spared(self, saved: int) -> frozenset[int]:
        """Return the steps of the checkpoints that must not be deleted once that of the step `saved` is there."""
        awaited = {self.awaited} if self.awaited is not None and self.awaited < saved else set()
        return frozenset(awaited | ({self.best.step} if self.best else set()))

    def lose_best(self) -> None:
        """Take the newest checkpoint for the best, because that one is gone; what training waits for stays the same."""
        self.best = Measured(self.latest.step, dict(self.latest.metrics)) if self.latest else None
        value = self.best.metrics.get(self.rule.metric) if self.best and self.rule else None
        if value is None:
            self.best = None
        state = asdict(self.standing) | {"best_step": self.best.step if self.best else None, "best": value}
        self.standing = Standing(**state)

    def save(self, checkpoint: Path) -> None:
        """Write it into a checkpoint's folder."""
        state = {
            "standing": asdict(self.standing),
            "latest": asdict(self.latest) if self.latest else None,
            "best": asdict(self.best) if self.best else None,
            "awaited": self.awaited,
            "owed": self.owed,
        }
        (checkpoint / LEDGER).write_text(json.dumps(state, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, checkpoint: Path, rule: Rule | None) -> "Ledger":
        """Return the ledger of a checkpoint that a run goes on from; a new one when it has none."""
        try:
            state: dict[str, Any] = json.loads((checkpoint / LEDGER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(rule)
        return cls(
            rule,
            Standing(**state["standing"]),
            Measured(**state["latest"]) if state["latest"] else None,
            Measured(**state["best"]) if state["best"] else None,
            state["awaited"],
            state.get("owed"),
        )
