"""What a run says of its speed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from tests.unit.runtime.test_timing import tiny_trainer
from tunesmith_api.finetunejob import TrainingProgress
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.counting import Counts, TokenCounter
from tunesmith_runtime.train.flops import Tower
from tunesmith_runtime.train.history import History, read
from tunesmith_runtime.train.stragglers import NODES, WorkerReport, nodes, stragglers
from tunesmith_runtime.train.telemetry import ProgressCallback, Work
from tunesmith_runtime.train.watching import watch


def batch(real: int, padded: int) -> list[dict[str, Any]]:
    return [{"input_ids": [1] * real, "padded": padded}]


def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.zeros(1, examples[0]["padded"])}


def report(
    name: str, own: float, *, steps: int = 10, seconds: float = 20.0, memory: int = 1, **more: Any
) -> WorkerReport:
    return WorkerReport(
        name=name,
        steps=steps,
        seconds=seconds,
        own_seconds=own,
        counts=Counts(samples=10, real=400, computed=500),
        memory_bytes=memory,
        **more,
    )


class Run:
    """A run whose clock is set by hand."""

    def __init__(self, folder: Path, *, steps: int = 10, **settings: Any) -> None:
        self.now = 0.0
        self.counter = TokenCounter(collate)
        self.reporter = ProgressReporter(folder / "progress.json")
        self.callback = ProgressCallback(self.reporter, self.counter, clock=lambda: self.now, **settings)
        self.args, self.control = TrainingArguments(output_dir=str(folder), use_cpu=True), TrainerControl()
        self.state = TrainerState(max_steps=steps)

    def begin(self) -> "Run":
        self.callback.on_train_begin(self.args, self.state, self.control)
        return self

    def step(self, seconds: float, real: int = 40, padded: int = 50, **logs: float) -> "Run":
        self.now += seconds
        self.counter(batch(real, padded))
        self.state.global_step += 1
        return self.log(**(logs or {"loss": 2.0 / self.state.global_step}))

    def log(self, **logs: float) -> "Run":
        self.callback.on_log(self.args, self.state, self.control, logs=logs)
        return self

    @property
    def progress(self) -> TrainingProgress:
        said = self.reporter.read().training
        assert said is not None
        return said


def test_padding_is_not_counted_as_work_done() -> None:
    counter = TokenCounter(collate)
    counter(batch(real=30, padded=40))
    counter(batch(real=50, padded=60))
    assert (counter.real, counter.computed, counter.real_ratio) == (80, 100, 0.8)
    assert counter.counts.samples == 2
    assert counter.counts.squares == 30 * 30 + 50 * 50


def test_packed_records_count_one_by_one() -> None:
    counter = TokenCounter(lambda rows: {"input_ids": torch.zeros(len(rows), 10)})
    counter([{"input_ids": [1] * 9, "seq_lengths": [4, 5]}, {"input_ids": [1] * 10, "seq_lengths": [10]}])
    assert counter.counts == Counts(samples=3, real=19, computed=20, squares=16 + 25 + 100)


def test_preferences_count_the_prompt_with_each_answer() -> None:
    def collate_pairs(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return {
            "chosen_input_ids": torch.zeros(1, 8),
            "chosen_attention_mask": torch.tensor([[1] * 6 + [0] * 2]),
            "rejected_input_ids": torch.zeros(1, 8),
            "rejected_attention_mask": torch.tensor([[1] * 8]),
            "KL_input_ids": torch.zeros(1, 8),
        }

    counter = TokenCounter(collate_pairs)
    counter([{"prompt_ids": [1] * 4, "chosen_ids": [1] * 2, "rejected_ids": [1] * 4}])
    assert counter.counts == Counts(samples=1, real=14, computed=16, squares=36 + 64)


def test_an_encoder_decoder_counts_source_and_target() -> None:
    def collate_pairs(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return {
            "input_ids": torch.zeros(1, 8),
            "attention_mask": torch.tensor([[1] * 6 + [0] * 2]),
            "labels": torch.tensor([[5, 5, 5, -100]]),
        }

    counter = TokenCounter(collate_pairs, encoder_decoder=True)
    counter([{}])
    assert counter.counts == Counts(samples=1, real=9, computed=12, squares=36, targets=3, target_squares=9, crossed=18)


def test_a_recipe_may_say_the_length_of_its_rows() -> None:
    counter = TokenCounter(lambda rows: {"input_ids": torch.zeros(2, 8)}, tokens=lambda row: row["length"])
    counter([{"length": 3}, {"length": 4}])
    assert (counter.real, counter.computed) == (7, 16)


def test_speed_and_eta_leave_out_the_first_step(tmp_path: Path) -> None:
    run = Run(tmp_path).begin()
    for seconds in (100.0, 2.0, 2.0, 2.0):
        run.step(seconds)

    progress = run.progress
    assert (progress.step, progress.total_steps, progress.percent, progress.loss) == (4, 10, 40, 0.5)
    assert progress.tokens_per_second == 3 * 40 / 6.0
    assert progress.padded_tokens_per_second == 3 * 50 / 6.0
    assert progress.samples_per_second == 0.5
    assert progress.real_token_ratio == 0.8
    assert progress.eta is not None
    assert progress.memory_bytes is not None
    assert progress.memory_bytes > 10_000_000


def test_speed_is_that_of_the_last_steps_and_shows_when_a_run_slows_down(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=200).begin()
    for _ in range(60):
        run.step(1.0)
    for _ in range(60):
        run.step(4.0)
    assert run.progress.tokens_per_second == 10.0


def test_all_workers_speeds_add_up_and_the_slow_one_is_named(tmp_path: Path) -> None:
    told: list[WorkerReport] = []

    def gather(own: WorkerReport) -> list[WorkerReport]:
        told.append(own)
        return [own, report("slow-pod", 3.0, memory=2**40), report("fast-pod", 1.0)]

    run = Run(tmp_path, workers=3, gather=gather, steps=40).begin()
    for _ in range(40):
        run.step(2.0)
    progress = run.progress
    assert progress.tokens_per_second == 20 + 20 + 20
    assert [node.name for node in progress.nodes][1:] == ["slow-pod", "fast-pod"]
    assert [(each.name, each.factor) for each in progress.stragglers] == [("slow-pod", 3.0)]
    assert progress.memory_bytes == 2**40
    # About every ten seconds, and at the end: all workers know when from rank 0.
    assert len(told) == 9
    assert told[1].next_gather == 7 + 5


@pytest.mark.parametrize("seconds", [0.01, 60.0])
def test_workers_agree_on_when_to_gather_whatever_their_own_clocks_say(tmp_path: Path, seconds: float) -> None:
    gathered: list[int] = []

    def gather(own: WorkerReport) -> list[WorkerReport]:
        gathered.append(run.state.global_step)
        return [report("first", 1.0, next_gather=run.state.global_step + 7), own]

    run = Run(tmp_path, workers=2, gather=gather, steps=30)
    run.state.is_world_process_zero = False
    run.begin()
    for _ in range(30):
        run.step(seconds).log(eval_loss=1.0)
    assert gathered == [2, 9, 16, 23, 30]


def test_losses_of_data_streams_are_means_over_the_tokens_of_all_workers(tmp_path: Path) -> None:
    def gather(own: WorkerReport) -> list[WorkerReport]:
        return [own, report("other", 1.0, streams={0: (30.0, 10), 1: (5.0, 10)})]

    run = Run(
        tmp_path,
        workers=2,
        gather=gather,
        streams=("tickets", "manuals"),
        held_out=("tickets",),
        stream_losses=lambda: {0: (10.0, 10)},
    ).begin()
    run.step(1.0).step(1.0, loss=1.5, eval_tickets_loss=0.7)
    assert [each.to_json() for each in run.progress.streams] == [
        {"name": "tickets", "loss": 2.0, "evalLoss": 0.7},
        {"name": "manuals", "loss": 0.5},
    ]
    assert run.progress.eval_loss == 0.7


def test_mfu_is_what_the_model_needs_over_what_the_device_could_compute(tmp_path: Path) -> None:
    # 6 operations for each of 1,000 parameters and token; 20 tokens per second.
    work = Work(towers=(Tower(parameters=1000, trained=1000),), peak=480_000.0)
    run = Run(tmp_path, work=work).begin().step(100.0).step(2.0).step(2.0)
    assert run.progress.mfu == 0.25
    unknown = Run(tmp_path, work=Work(towers=work.towers)).begin().step(100.0).step(2.0)
    assert unknown.progress.mfu is None


def test_numbers_that_are_none_are_left_out_of_the_status(tmp_path: Path) -> None:
    run = Run(tmp_path).begin().step(1.0).step(1.0, loss=float("nan"), grad_norm=float("inf"))
    assert (run.progress.step, run.progress.loss, run.progress.grad_norm) == (2, None, None)


def test_one_of_two_workers_can_be_the_slow_one_but_only_if_it_costs_time() -> None:
    assert [each.name for each in stragglers([report("a", 1.6), report("b", 1.0)])] == ["a"]
    assert stragglers([report("a", 1.4), report("b", 1.0)]) == ()
    assert stragglers([report("a", 0.02), report("b", 0.01)]) == ()  # of steps that take 2 seconds
    assert stragglers([report("a", 9.0, steps=2), report("b", 1.0, steps=2)]) == ()
    assert stragglers([report("alone", 9.0)]) == ()


def test_of_very_many_workers_the_slowest_are_shown() -> None:
    many: Sequence[WorkerReport] = [report(f"pod-{number}", 1.0 + (number == 99)) for number in range(100)]
    shown = nodes(many)
    assert len(shown) == NODES
    assert shown[-1].name == "pod-99"
    assert [each.name for each in stragglers(many)] == ["pod-99"]


def test_a_run_leaves_its_history(tmp_path: Path) -> None:
    history = History(tmp_path / "out" / "history.jsonl")
    run = Run(tmp_path, history=history, streams=("a",), stream_losses=lambda: {0: (4.0, 2)}).begin()
    for _ in range(9):
        run.step(2.0)
    run.log(eval_loss=0.25).step(2.0)
    rows = read(tmp_path / "out" / "history.jsonl")
    assert [(row["step"], row.get("evalLoss")) for row in rows] == [(1, None), (9, 0.25), (10, 0.25)]
    assert rows[-1]["streams"] == [{"name": "a", "loss": 2.0}]
    assert rows[-1]["tokensPerSecond"] == 20


def test_history_goes_on_from_the_checkpoint_that_training_goes_on_from(tmp_path: Path) -> None:
    path, now = tmp_path / "history.jsonl", 0.0
    history = History(path, clock=lambda: now)
    history.begin(0)
    for step in range(1, 8):
        now += 2.0
        history.append({"step": step, "loss": 1.0})
    path.write_text(path.read_text() + '{"step": 8, "lo')
    History(path).begin(5)
    assert [row["step"] for row in read(path)] == [1, 2, 3, 4, 5]


def test_on_another_machine_history_comes_from_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    logged = [
        {"step": 1, "loss": 2.0, "learning_rate": 0.1, "grad_norm": float("inf")},
        {"step": 2, "loss": 1.0},
        {"step": 2, "eval_loss": 1.5, "eval_runtime": 3.0},
        {"step": 3, "loss": 0.5},
    ]
    History(path).begin(2, logged)
    assert [{name: row[name] for name in row} for row in read(path)] == [
        {"step": 1, "loss": 2.0, "learningRate": 0.1},
        {"step": 2, "loss": 1.0, "evalLoss": 1.5},
    ]


def test_a_long_run_leaves_a_short_history(tmp_path: Path) -> None:
    path, now = tmp_path / "history.jsonl", 0.0
    history = History(path, clock=lambda: now)
    history.begin(0)
    for step in range(20_000):
        now += 10.0
        history.append({"step": step})
    assert len(read(path)) < 12_000


def test_a_trainer_that_is_watched_says_all_of_it(tmp_path: Path) -> None:
    trainer = tiny_trainer(
        tmp_path, max_steps=6, per_device_train_batch_size=2, eval_strategy="steps", eval_steps=3, save_steps=3
    )
    reporter = ProgressReporter(tmp_path / "progress.json")
    watch(trainer, reporter, history=tmp_path / "history.jsonl")
    trainer.train()
    progress = reporter.read().training
    assert progress is not None
    assert (progress.step, progress.percent) == (6, 100)
    assert progress.grad_norm is not None
    assert progress.eval_loss is not None
    assert progress.mfu is None  # on a CPU
    assert progress.step_time is not None
    assert progress.step_time.forward > 0
    assert progress.nodes == ()
    # The validation records are no training; one batch is drawn ahead.
    assert trainer.data_collator.counts.samples in {6 * 2, 7 * 2}
    assert read(tmp_path / "history.jsonl")[-1]["stepTime"]["backward"] > 0
