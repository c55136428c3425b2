"""How fast training goes, and how long it still takes."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith_api.finetunejob import MetricValues, StepTime, StreamProgress, TrainingProgress
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import group
from tunesmith_runtime.train.counting import Counts, TokenCounter
from tunesmith_runtime.train.flops import Tower, training_flops
from tunesmith_runtime.train.history import METHOD, History, of_method
from tunesmith_runtime.train.stages import ONLY, Stage
from tunesmith_runtime.train.stragglers import WorkerReport, nodes, peak_memory, stragglers, worker_name
from tunesmith_runtime.train.timing import SECTIONS, Section, Timeline

# At most one progress document and log line in this many seconds, besides those at the first and the last step.
REPORT_SECONDS = 1.0
# All workers tell each other how they do about once in this time: it takes milliseconds.
GATHER_SECONDS = 10.0
# Speeds are those of so many steps, so that they show a change.
WINDOW_STEPS = 50

StreamLosses = Callable[[], Mapping[int, tuple[float, int]]]


@dataclass(frozen=True)
class Work:
    """What a device has to do and can: the towers of its model, and its peak in FLOP/s, None when it is not known.

    `forwards` counts a method's further forward passes. `own` names the sections in which it waits for no other worker.
    """

    towers: tuple[Tower, ...] = ()
    forwards: int = 0
    peak: float | None = None
    own: tuple[Section, ...] = ("data", "forward", "backward", "optimizer")


class _Moment(NamedTuple):
    time: float
    step: int
    counts: Counts
    sections: Mapping[Section, float]


@dataclass
class ProgressCallback(TrainerCallback):
    """Reports steps, loss, speed and the expected end. Every worker of a run has one; that of rank 0 reports.

    `gather` hands every worker what each of them gave, in the order of their ranks. All must call it at the same steps:
    rank 0 says each time at which step they do again. `streams` names the datasets, `held_out` the sets of validation
    records when there are several.
    """

    reporter: ProgressReporter
    tokens: TokenCounter
    timeline: Timeline = field(default_factory=Timeline)
    work: Work = Work()
    streams: Sequence[str] = ()
    held_out: Sequence[str] = ()
    stream_losses: StreamLosses | None = None
    history: History | None = None
    workers: int = 1
    stage: Stage = ONLY
    metrics: Callable[[], MetricValues] = tuple
    gather: Callable[[WorkerReport], list[WorkerReport]] = group.gather
    clock: Callable[[], float] = time.monotonic
    _began: _Moment | None = field(default=None, init=False)
    _window: deque[_Moment] = field(default_factory=lambda: deque(maxlen=WINDOW_STEPS + 1), init=False)
    _warm: bool = field(default=False, init=False)
    _next_gather: int = field(default=0, init=False)
    _gathered: int = field(default=-1, init=False)
    _all: list[WorkerReport] = field(default_factory=list, init=False)
    _reported: float = field(default=float("-inf"), init=False)
    _metrics: dict[str, float] = field(default_factory=dict, init=False)
    _losses: dict[int, float] = field(default_factory=dict, init=False)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock; after a resume, with the step and the numbers that the checkpoint holds."""
        for logged in state.log_history:
            self._metrics.update(logged)
        self._begin(state)
        self._next_gather = state.global_step + 2  # the first of which is not counted
        if self.history is not None and state.is_world_process_zero:
            self.history.begin(self.stage.before + state.global_step, self.stage.logged(state.log_history))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take up the newest numbers, tell the other workers, and report when it is time."""
        logs = logs or {}
        if "train_runtime" in logs:
            return  # the Trainer's summary: all of it has been said
        self._metrics.update(logs)
        evaluated = any(name.startswith("eval_") and name.endswith("loss") for name in logs)
        late = self.clock() - self._reported >= REPORT_SECONDS
        due = late or evaluated or control.should_training_stop or state.global_step >= state.max_steps
        if not self._warm and self._began is not None and state.global_step > self._began.step:
            self._warm = due = True
            self._begin(state)  # the first step allocates and warms up: it would spoil the estimate
        elif state.global_step > self._window[-1].step:
            self._window.append(self._now(state))
        self._gather(state, due=due)
        if state.is_world_process_zero and due:
            self._report(state, evaluated=evaluated)

    def _begin(self, state: TrainerState) -> None:
        self._began = self._now(state)
        self._window.clear()
        self._window.append(self._began)

    def _now(self, state: TrainerState) -> _Moment:
        return _Moment(self.clock(), state.global_step, self.tokens.counts, self.timeline.totals())

    def _gather(self, state: TrainerState, *, due: bool) -> None:
        step = state.global_step
        if self.workers == 1:
            if due:
                self._all = [self._own(state)]
                self._take_losses(self._all)
        elif step > self._gathered and (step >= self._next_gather or step >= state.max_steps):
            self._gathered = step
            self._all = self.gather(self._own(state))
            self._take_losses(self._all)
            self._next_gather = self._all[0].next_gather
        elif self._all and state.is_world_process_zero:
            self._all[0] = self._own(state, losses=False)

    def _own(self, state: TrainerState, *, losses: bool = True) -> WorkerReport:
        first, last = self._window[0], self._window[-1]
        steps, seconds, counts = last.step - first.step, last.time - first.time, last.counts.minus(first.counts)
        spent = {section: last.sections[section] - first.sections[section] for section in SECTIONS}
        return WorkerReport(
            name=worker_name(),
            steps=steps,
            seconds=seconds,
            own_seconds=sum(spent[section] for section in self.work.own) / steps if steps else 0.0,
            counts=counts,
            memory_bytes=peak_memory(),
            busy_seconds=seconds - spent["checkpoint"] - spent["evaluation"],
            flops=training_flops(self.work.towers, counts, forwards=self.work.forwards) if self.work.towers else 0.0,
            peak=self.work.peak,
            streams=dict(self.stream_losses()) if losses and self.stream_losses else {},
            next_gather=state.global_step + max(1, round(GATHER_SECONDS * steps / seconds)) if seconds else 0,
        )

    def _take_losses(self, reports: Sequence[WorkerReport]) -> None:
        for stream in {stream for report in reports for stream in report.streams}:
            found = [report.streams[stream] for report in reports if stream in report.streams]
            tokens = sum(count for _, count in found)
            if tokens:
                self._losses[stream] = sum(loss for loss, _ in found) / tokens

    def _report(self, state: TrainerState, *, evaluated: bool) -> None:
        self._reported = self.clock()
        progress = self._progress(state)
        self.reporter.update(state="Running", stage=self.stage.title, training=progress)
        shown, of_the_method = progress.to_json(), of_method(self._metrics)
        if self.history is not None:
            row = {name: value for name, value in shown.items() if name not in {"nodes", "metrics", "eta"}}
            if self.stage.is_one_of_several:
                row["stage"] = self.stage.title
            if of_the_method:
                row[METHOD] = of_the_method
            self.history.append(row, always=evaluated or state.global_step >= state.max_steps)
        plain = {name: value for name, value in shown.items() if not isinstance(value, dict | list)}
        line = " ".join(f"{name}={value}" for name, value in (plain | of_the_method).items())
        print(line, flush=True)  # noqa: T201 - the run's log

    def _progress(self, state: TrainerState) -> TrainingProgress:
        reports = [report for report in self._all if report.seconds > 0]
        real, computed, samples = (
            sum(getattr(report.counts, name) / report.seconds for report in reports)
            for name in ("real", "computed", "samples")
        )
        step, total = self.stage.before + state.global_step, self.stage.before + state.max_steps + self.stage.after
        return TrainingProgress(
            step=step,
            total_steps=total,
            epoch=round(state.epoch or 0.0, 3),
            percent=min(100, 100 * step // max(total, 1)),
            loss=_rounded(self._metrics.get("loss")),
            eval_loss=_rounded(self._eval_loss()),
            learning_rate=self._metrics.get("learning_rate"),
            grad_norm=_rounded(self._metrics.get("grad_norm")),
            tokens_per_second=round(real, 1) if reports else None,
            padded_tokens_per_second=round(computed, 1) if reports else None,
            samples_per_second=round(samples, 2) if reports else None,
            real_token_ratio=round(self.tokens.real_ratio, 4),
            mfu=_mfu(reports),
            memory_bytes=max((report.memory_bytes for report in self._all), default=None),
            step_time=self._step_time(),
            nodes=nodes(reports) if self.workers > 1 else (),
            stragglers=stragglers(reports),
            streams=self._streams(),
            metrics=self.metrics(),
            eta=self._eta(state),
        )

    def _eval_loss(self) -> float | None:
        """Return the loss on all validation records; on several sets of them, the mean of their losses."""
        if "eval_loss" in self._metrics:
            return self._metrics["eval_loss"]
        found = self._eval_losses().values()
        return sum(found) / len(found) if found else None

    def _eval_losses(self) -> dict[str, float]:
        logged = {name: self._metrics.get(f"eval_{name}_loss") for name in self.held_out}
        return {name: loss for name, loss in logged.items() if loss is not None}

    def _streams(self) -> tuple[StreamProgress, ...]:
        held_out = self._eval_losses()
        losses = {self.streams[stream]: loss for stream, loss in sorted(self._losses.items())}
        names = [name for name in self.streams if name in losses] + [name for name in held_out if name not in losses]
        return tuple(
            StreamProgress(name=name[:63], loss=_rounded(losses.get(name)), eval_loss=_rounded(held_out.get(name)))
            for name in names[:64]
        )

    def _step_time(self) -> StepTime | None:
        first, last = self._window[0], self._window[-1]
        steps = last.step - first.step
        if not steps:
            return None
        spent = {section: (last.sections[section] - first.sections[section]) / steps for section in SECTIONS}
        return StepTime(**{section: round(max(seconds, 0.0), 5) for section, seconds in spent.items()})

    def _eta(self, state: TrainerState) -> datetime | None:
        """Return when training ends if it goes on as it has gone since it began, evaluations and all."""
        if self._began is None or state.global_step == self._began.step:
            return None
        seconds = (self._reported - self._began.time) / (state.global_step - self._began.step)
        left = timedelta(seconds=(state.max_steps + self.stage.after - state.global_step) * seconds)
        return (datetime.now(UTC) + left).replace(microsecond=0)


def _mfu(reports: Sequence[WorkerReport]) -> float | None:
    peaks = [report.peak for report in reports if report.peak and report.busy_seconds > 0]
    if not reports or len(peaks) < len(reports):
        return None
    return round(sum(report.flops / report.busy_seconds for report in reports) / sum(peaks), 4)


def _rounded(value: float | None) -> float | None:
    """Return a number as status can hold it: six places, and None for what is no number, as of gradients too large."""
    return round(value, 6) if value is not None and math.isfinite(value) else None
