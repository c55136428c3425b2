"""What a run says of its speed."""

from pathlib import Path
from typing import Any

import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.telemetry import ProgressCallback, TokenCounter


def batch(real: int, padded: int) -> list[dict[str, Any]]:
    return [{"input_ids": [1] * real, "padded": padded}]


def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.zeros(1, examples[0]["padded"])}


def test_padding_is_not_counted_as_work_done() -> None:
    counter = TokenCounter(collate)
    counter(batch(real=30, padded=40))
    counter(batch(real=50, padded=60))
    assert (counter.real, counter.computed, counter.real_ratio) == (80, 100, 0.8)


def test_speed_and_eta_leave_out_the_first_step(tmp_path: Path) -> None:
    now = 0.0
    counter = TokenCounter(collate)
    reporter = ProgressReporter(tmp_path / "progress.json")
    callback = ProgressCallback(reporter, counter, workers=2, clock=lambda: now)
    args, control = TrainingArguments(output_dir=str(tmp_path), use_cpu=True), TrainerControl()
    state = TrainerState(max_steps=10)
    callback.on_train_begin(args, state, control)
    for step, seconds in enumerate([100.0, 2.0, 2.0, 2.0], start=1):
        now += seconds
        counter(batch(real=40, padded=50))
        state.global_step = step
        callback.on_log(args, state, control, logs={"loss": 2.0 / step})

    progress = reporter.read().training
    assert progress is not None
    assert (progress.step, progress.total_steps, progress.percent, progress.loss) == (4, 10, 40, 0.5)
    assert progress.tokens_per_second == 2 * 3 * 40 / 6.0
    assert progress.real_token_ratio == 0.8
    assert progress.eta is not None
