"""Counts what a contestant's model sees, the same way for all of them, whatever trains it.

It needs torch and transformers alone, so that it also runs in the environment of another trainer.
"""

import functools
import json
import time
from pathlib import Path
from typing import Any

from tests.bench.settings import WARM_UP


class Meter:
    """Notes the time at the end of each optimizer step, and the tokens that the model has seen by then."""

    def __init__(self, model: str) -> None:
        self._pad_token_id = int(json.loads((Path(model) / "config.json").read_text())["pad_token_id"])
        self._real = 0
        self._computed = 0
        self._steps: list[tuple[float, float, int, int]] = []

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
        """Write the figures as JSON: speeds without the steps of the warm-up, sums with them."""
        (begin, busy, real, computed), (end, all_busy, all_real, all_computed) = (
            self._steps[WARM_UP - 1],
            self._steps[-1],
        )
        figures = {
            "steps": len(self._steps),
            "real": all_real,
            "computed": all_computed,
            "real_per_second": (all_real - real) / (end - begin),
            "computed_per_second": (all_computed - computed) / (end - begin),
            "computed_per_cpu_second": (all_computed - computed) / (all_busy - busy),
            "step_ends": [end for end, *_ in self._steps],
            "first_step_at": self._steps[0][0],
        }
        path.write_text(json.dumps(figures))

    def _note_step(self, *_: Any) -> None:
        self._steps.append((time.time(), time.process_time(), self._real, self._computed))
