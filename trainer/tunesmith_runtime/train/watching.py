"""Everything that watches a Trainer, put in its place."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from tunesmith_api.finetunejob import MetricValues
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.counting import TokenCounter
from tunesmith_runtime.train.flops import towers
from tunesmith_runtime.train.history import History
from tunesmith_runtime.train.peaks import Precision, peak_flops
from tunesmith_runtime.train.rollouts import RolloutTrainer
from tunesmith_runtime.train.stages import ONLY, Stage
from tunesmith_runtime.train.telemetry import ProgressCallback, StreamLosses, Work
from tunesmith_runtime.train.timing import Section, Timeline, time_training


def watch(
    trainer: Trainer,
    reporter: ProgressReporter,
    *,
    streams: Sequence[str] = (),
    stream_losses: StreamLosses | None = None,
    tokens: Callable[[dict[str, Any]], int] | None = None,
    history: Path | None = None,
    forwards: int = 0,
    stage: Stage = ONLY,
    metrics: Callable[[], MetricValues] = tuple,
) -> Timeline:
    """Have a Trainer say how it does. Every worker must call it, after all else that replaces the data collator.

    `streams` names the datasets; `stream_losses` takes the sums of losses and the numbers of tokens since it was last
    called, by the number of the dataset. `tokens` says the length of a row where its batch does not. `history` is the
    file that rank 0 keeps the course of the run in. `forwards` is how often a method passes each token through a model
    that does not learn: 1 for DPO and KTO with a reference. `stage` says what came before, and what is still to come.
    `metrics` gives those of the newest checkpoint that was measured. Returns what notes the sections of training.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    counter = TokenCounter(trainer.data_collator, tokens, model.config.is_encoder_decoder)
    if isinstance(trainer, RolloutTrainer):
        trainer.note_batch = counter.note  # its collator makes prompts, and the answers are still to come
    else:
        trainer.data_collator = counter
    timeline = Timeline()
    time_training(trainer, timeline)
    _leave_out_evaluations(trainer, counter)
    trainer.add_callback(
        ProgressCallback(
            reporter,
            counter,
            timeline=timeline,
            work=Work(towers(model), forwards, _peak(trainer.args), _own_sections(trainer)),
            streams=streams,
            held_out=tuple(trainer.eval_dataset) if isinstance(trainer.eval_dataset, dict) else (),
            stream_losses=stream_losses,
            history=History(history) if history else None,
            workers=trainer.args.world_size,
            stage=stage,
            metrics=metrics,
        )
    )
    return timeline


def _leave_out_evaluations(trainer: Trainer, counter: TokenCounter) -> None:
    evaluate = trainer.evaluate

    def uncounted(*arguments: Any, **options: Any) -> dict[str, float]:
        before, counter.counting = counter.counting, False
        try:
            return evaluate(*arguments, **options)
        finally:
            counter.counting = before

    trainer.evaluate = uncounted


def _own_sections(trainer: Trainer) -> tuple[Section, ...]:
    """Return the sections in which a worker waits for no other (see timing)."""
    if not trainer.is_deepspeed_enabled:
        return ("data", "forward", "backward", "optimizer")
    spread = trainer.accelerator.deepspeed_plugin.zero_stage == 3
    return ("data",) if spread else ("data", "forward")


def _peak(args: TrainingArguments) -> float | None:
    if not torch.cuda.is_available():
        return None
    precision: Precision = "fp32"
    if args.bf16 or args.fp16:
        precision = "bf16" if args.bf16 else "fp16"
    elif torch.get_float32_matmul_precision() != "highest":
        precision = "tf32"
    return peak_flops(torch.cuda.get_device_name(), precision)
