"""How fast training goes, and how long it still takes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith_api.finetunejob import TrainingProgress
from tunesmith_runtime.progress import ProgressReporter

# At most one progress document and log line in this many seconds, besides those at the first and the last step.
REPORT_SECONDS = 1.0


@dataclass
class TokenCounter:
    """Wraps a data collator and counts the tokens of the batches that it makes."""

    collate: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]
    real: int = 0
    computed: int = 0

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the batch, having counted its tokens with and without padding."""
        batch = self.collate(examples)
        self.computed += batch["input_ids"].numel()
        self.real += sum(len(example["input_ids"]) for example in examples)
        return batch

    @property
    def real_ratio(self) -> float:
        """Real tokens over computed tokens so far, in (0, 1]."""
        return self.real / self.computed if self.computed else 1.0


@dataclass
class ProgressCallback(TrainerCallback):
    """Reports steps, loss, speed and the expected end."""

    reporter: ProgressReporter
    tokens: TokenCounter
    workers: int
    clock: Callable[[], float] = time.monotonic
    _started: float = field(default=0.0, init=False)
    _first_step: int = field(default=0, init=False)
    _warm: bool = field(default=False, init=False)
    _tokens_before: int = field(default=0, init=False)
    _reported: float = field(default=float("-inf"), init=False)
    _metrics: dict[str, float] = field(default_factory=dict, init=False)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock; after a resume, with the step and the numbers that the checkpoint holds."""
        for logged in state.log_history:
            self._metrics.update(logged)
        self._begin(state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take up the newest numbers, and report them when it is time."""
        self._metrics.update(logs or {})
        if not self._warm and state.global_step > self._first_step:
            self._warm = True
            self._begin(state)  # the first step allocates and warms up: it would spoil the estimate
            self._report(state)
        elif self.clock() - self._reported >= REPORT_SECONDS or state.global_step >= state.max_steps:
            self._report(state)

    def _begin(self, state: TrainerState) -> None:
        self._started = self.clock()
        self._first_step = state.global_step
        self._tokens_before = self.tokens.real

    def _report(self, state: TrainerState) -> None:
        self._reported = self.clock()
        seconds, steps = self._reported - self._started, state.global_step - self._first_step
        speed = self.workers * (self.tokens.real - self._tokens_before) / seconds if steps else None
        remaining = (state.max_steps - state.global_step) * seconds / steps if steps else None
        progress = TrainingProgress(
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=round(state.epoch or 0.0, 3),
            percent=min(100, 100 * state.global_step // max(state.max_steps, 1)),
            loss=_rounded(self._metrics.get("loss")),
            eval_loss=_rounded(self._metrics.get("eval_loss")),
            learning_rate=self._metrics.get("learning_rate"),
            tokens_per_second=round(speed, 1) if speed else None,
            real_token_ratio=round(self.tokens.real_ratio, 4),
            eta=_in_seconds(remaining),
        )
        self.reporter.update(state="Running", stage="training", training=progress)
        shown = progress.to_json()
        print(" ".join(f"{name}={value}" for name, value in shown.items()), flush=True)  # noqa: T201 - the run's log


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _in_seconds(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
