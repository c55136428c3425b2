"""Where the time of training goes.

At any moment a worker is in one section, and each change of section leaves a mark. On a CPU a mark is the time. On a
GPU it is an event in the stream of the computation, which costs microseconds, waits for nothing, and is read once the
GPU has come by: so a section is what the GPU spends on it or stands idle in it, not how long launching took.

`communication` is what a worker waits for others. With DistributedDataParallel gradients travel while the backward pass
computes the next; what is left when the last gradient is there counts. DeepSpeed sends most gradients within the
backward pass, which cannot be told apart from outside: only its last sends count, and with ZeRO-3, which fetches
weights in every layer, nearly all waiting is within forward and backward.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, get_args

import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

Section = Literal["data", "forward", "backward", "optimizer", "communication", "checkpoint", "evaluation", "other"]
SECTIONS: tuple[Section, ...] = get_args(Section)
# Whatever is called within these belongs to them: an evaluation has forward passes as well.
_WHOLE: frozenset[Section] = frozenset({"checkpoint", "evaluation"})


class Clock(Protocol):
    """Marks moments."""

    def mark(self) -> Any:
        """Return a mark of this moment."""

    def seconds(self, begin: Any, end: Any) -> float | None:
        """Return the seconds between two marks, None as long as they are not known."""


class HostClock:
    """The time of the processor."""

    def mark(self) -> float:
        """Return the time in seconds."""
        return time.perf_counter()

    def seconds(self, begin: float, end: float) -> float:
        """Return the seconds between two times."""
        return end - begin


class DeviceClock:
    """The time at which a CUDA device comes by."""

    def mark(self) -> torch.cuda.Event:
        """Leave an event in the stream of this thread."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, begin: torch.cuda.Event, end: torch.cuda.Event) -> float | None:
        """Return the seconds between two events, None as long as the device has not come by the later one."""
        return begin.elapsed_time(end) / 1000 if end.query() else None


class Timeline:
    """The sections that a worker has been in, and how long."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or (DeviceClock() if torch.cuda.is_available() else HostClock())
        self._stack: list[Section] = ["other"]
        self._marks: list[tuple[Any, Section]] = [(self._clock.mark(), "other")]
        self._totals: dict[Section, float] = dict.fromkeys(SECTIONS, 0.0)

    @contextmanager
    def section(self, section: Section) -> Iterator[None]:
        """Be in a section; the one around it stands still meanwhile."""
        self._stack.append(self._stack[-1] if self._stack[-1] in _WHOLE else section)
        self._mark()
        try:
            yield
        finally:
            self._stack.pop()
            self._mark()

    def switch(self, section: Section) -> None:
        """Be in another section for what is left of this one."""
        if self._stack[-1] not in _WHOLE:
            self._stack[-1] = section
            self._mark()

    def totals(self) -> dict[Section, float]:
        """Return the seconds in each section up to the last change that the clock knows."""
        done = 0
        for (begin, section), (end, _) in zip(self._marks, self._marks[1:], strict=False):
            seconds = self._clock.seconds(begin, end)
            if seconds is None:
                break
            self._totals[section] += seconds
            done += 1
        del self._marks[:done]
        return dict(self._totals)

    def _mark(self) -> None:
        self._marks.append((self._clock.mark(), self._stack[-1]))


class TimingCallback(TrainerCallback):
    """Times the parts of training that are no method of the Trainer."""

    def __init__(self, trainer: Trainer, timeline: Timeline) -> None:
        self._trainer = trainer
        self._timeline = timeline
        self._step: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Reach what exists only now: what wraps the model."""
        wrapped, timeline = self._trainer.model_wrapped, self._timeline
        if isinstance(wrapped, DistributedDataParallel):
            watch_last_gradient(self._trainer, timeline)
        elif self._trainer.is_deepspeed_enabled:
            _time(wrapped, "allreduce_gradients", timeline, "communication")
            _time(wrapped, "step", timeline, "optimizer")

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin to change the weights."""
        self._step = self._timeline.section("optimizer")
        self._step.__enter__()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Have changed the weights."""
        self._step.__exit__(None, None, None)


def time_training(trainer: Trainer, timeline: Timeline) -> None:
    """Have a Trainer, of whatever class, note the sections of its training in a timeline."""
    alone = trainer.args.world_size == 1
    _time(trainer, "get_batch_samples", timeline, "data")
    # Counts the labels of all workers' batches, and so waits for all of them.
    _time(trainer, "_get_num_items_in_batch", timeline, "data" if alone else "communication")
    _time(trainer, "compute_loss", timeline, "forward")
    _time(trainer.accelerator, "backward", timeline, "backward")
    _time(trainer, "_clip_grad_norm", timeline, "optimizer")
    _time(trainer, "evaluate", timeline, "evaluation")
    _time(trainer, "_save_checkpoint", timeline, "checkpoint")
    _time(trainer.callback_handler, "on_save", timeline, "checkpoint")
    trainer.add_callback(TimingCallback(trainer, timeline))


def _time(owner: Any, name: str, timeline: Timeline, section: Section) -> None:
    method: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(method)
    def timed(*arguments: Any, **options: Any) -> Any:
        with timeline.section(section):
            return method(*arguments, **options)

    setattr(owner, name, timed)


def watch_last_gradient(trainer: Any, timeline: Timeline) -> None:
    """Count what a backward pass takes after its last gradient as communication.

    Which gradient is the last is seen in the first backward pass: it is the same in all.
    """
    order: list[torch.Tensor] = []
    hooks = [
        weight.register_post_accumulate_grad_hook(order.append)
        for weight in trainer.model.parameters()
        if weight.requires_grad
    ]
    backward = trainer.accelerator.backward

    @functools.wraps(backward)
    def first(*arguments: Any, **options: Any) -> None:
        backward(*arguments, **options)
        for hook in hooks:
            hook.remove()
        if order:
            order[-1].register_post_accumulate_grad_hook(lambda _: timeline.switch("communication"))
        order.clear()
        trainer.accelerator.backward = backward

    trainer.accelerator.backward = first
