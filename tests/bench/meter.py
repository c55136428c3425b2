"""Counts what a contestant's model sees, the same way for all of them, whatever trains it.

It needs torch and transformers alone, so that it also runs in the environment of another trainer.
"""

import functools
import json
import time
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from tests.bench.settings import WARM_UP


class Moment(NamedTuple):
    """The end of a step, and the tokens that the model had seen by then: without padding, and with it."""

    time: float
    real: int
    computed: int


class Meter:
    """Notes the time at the end of each optimizer step, and the tokens that the model has seen by then."""

    def __init__(self, model: str) -> None:
        self._pad_token_id = int(json.loads((Path(model) / "config.json").read_text())["pad_token_id"])
        self._real = 0
        self._computed = 0
        self._steps: list[Moment] = []

    def start(self) -> None:
        """Watch every Llama and every optimizer of this process; imports torch."""
        from torch.optim.optimizer import register_optimizer_step_post_hook
        from transformers.models.llama.modeling_llama import LlamaModel

        register_optimizer_step_post_hook(self._note_step)
        forward = LlamaModel.forward

        @functools.wraps(forward)
        def counted(model: Any, *arguments: Any, **given: Any) -> Any:
            # A trainer may look at the model before it trains it, with no or with made-up tokens.
            ids = given.get("input_ids", arguments[0] if arguments else None)
            if model.training and ids is not None:
                self._real += int((ids != self._pad_token_id).sum())
                self._computed += ids.numel()
            return forward(model, *arguments, **given)

        LlamaModel.forward = counted

    def write(self, path: Path) -> None:
        """Write the figures as JSON: speeds without the steps of the warm-up, sums with them.

        `calm_per_second` is the speed that a quarter of the steps exceed, in computed tokens: what else runs on the
        machine disturbs it least.
        """
        counted = self._steps[WARM_UP - 1 :]
        first, last = counted[0], self._steps[-1]
        speeds = [
            (after.computed - before.computed) / (after.time - before.time) for before, after in pairwise(counted)
        ]
        figures = {
            "steps": len(self._steps),
            "real": last.real,
            "computed": last.computed,
            "real_per_second": (last.real - first.real) / (last.time - first.time),
            "calm_per_second": quantiles(speeds, n=4)[-1],
            "first_step_at": self._steps[0].time,
        }
        path.write_text(json.dumps(figures))

    def _note_step(self, *_: Any) -> None:
        self._steps.append(Moment(time.time(), self._real, self._computed))
