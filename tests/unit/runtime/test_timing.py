"""Where a step's time goes."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from tunesmith_runtime.train.timing import SECTIONS, HostClock, Timeline, time_training, watch_last_gradient


class Watch:
    """A clock that is set by hand, and that knows times up to `known` only, as a GPU's events."""

    def __init__(self) -> None:
        self.now = 0.0
        self.known = float("inf")

    def mark(self) -> float:
        return self.now

    def seconds(self, begin: float, end: float) -> float | None:
        return end - begin if end <= self.known else None


def tiny_trainer(folder: Path, **settings: Any) -> Trainer:
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    rows = [{"input_ids": [*range(16)], "labels": [*range(16)]}] * 8
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, logging_steps=1, **settings
    )
    return Trainer(model=LlamaForCausalLM(config), args=arguments, train_dataset=rows, eval_dataset=rows)


def test_a_section_within_another_stops_its_time() -> None:
    watch = Watch()
    timeline = Timeline(watch)
    with timeline.section("backward"):
        watch.now = 2.0
        with timeline.section("optimizer"):
            watch.now = 5.0
        watch.now = 6.0
        timeline.switch("communication")
        watch.now = 10.0
    totals = timeline.totals()
    assert (totals["backward"], totals["optimizer"], totals["communication"]) == (3.0, 3.0, 4.0)
    assert sum(totals.values()) == 10.0


def test_forward_passes_of_an_evaluation_are_evaluation() -> None:
    watch = Watch()
    timeline = Timeline(watch)
    with timeline.section("evaluation"):
        watch.now = 1.0
        with timeline.section("forward"):
            timeline.switch("communication")
            watch.now = 4.0
    assert timeline.totals()["evaluation"] == 4.0


def test_a_section_that_fails_is_left() -> None:
    watch = Watch()
    timeline = Timeline(watch)

    def fail() -> None:
        with timeline.section("forward"):
            watch.now = 1.0
            raise ValueError("too long")

    with pytest.raises(ValueError, match="too long"):
        fail()
    watch.now = 3.0
    with timeline.section("data"):
        pass
    assert (timeline.totals()["forward"], timeline.totals()["other"]) == (1.0, 2.0)


def test_times_that_a_gpu_has_not_come_by_are_counted_later_and_nobody_waits_for_them() -> None:
    watch = Watch()
    timeline = Timeline(watch)
    for until in (1.0, 2.0, 3.0):
        with timeline.section("forward"):
            watch.now = until
    watch.known = 1.5
    assert timeline.totals()["forward"] == 1.0
    watch.known = 3.0
    assert timeline.totals()["forward"] == 3.0
    assert timeline.totals()["forward"] == 3.0


def test_every_part_of_training_is_found_in_the_trainer(tmp_path: Path) -> None:
    trainer = tiny_trainer(
        tmp_path,
        max_steps=4,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
    )
    began = time.perf_counter()
    timeline = Timeline(HostClock())
    time_training(trainer, timeline)
    trainer.train()
    took = time.perf_counter() - began
    totals = timeline.totals()
    assert {name for name in SECTIONS if totals[name] == 0.0} == {"communication"}
    assert 0.9 * took < sum(totals.values()) <= took


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
def test_what_a_backward_pass_takes_after_its_last_gradient_is_communication() -> None:
    first, last = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    model = DistributedDataParallel(torch.nn.Sequential(first, last))
    timeline = Timeline(HostClock())

    def backward(loss: torch.Tensor) -> None:
        with timeline.section("backward"):
            loss.backward()
            time.sleep(0.02)

    trainer = SimpleNamespace(model=model.module, accelerator=SimpleNamespace(backward=backward))
    watch_last_gradient(trainer, timeline)
    spent = []
    for _ in range(3):
        trainer.accelerator.backward(model(torch.ones(1, 4)).sum())
        spent.append(timeline.totals()["communication"])
    assert spent[0] == 0.0  # this one shows which gradient is the last
    assert spent[2] > spent[1] >= 0.02
    assert trainer.accelerator.backward is backward
