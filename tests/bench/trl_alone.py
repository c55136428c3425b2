"""TRL by itself, as its quick start shows it: what a training run is compared with.

`python trl_alone.py MODEL DATA STEPS OUT` trains and writes the figures to OUT as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, TrainerControl, TrainerState
from trl import SFTConfig, SFTTrainer

from tunesmith_runtime.train.counting import TokenCounter


class Clock(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Notes when each step ended and how many real tokens had been seen by then."""

    def __init__(self, counter: TokenCounter) -> None:
        self.counter = counter
        self.steps: list[tuple[float, int]] = []

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.steps.append((time.time(), self.counter.real))


def main(model: str, data: str, steps: int, out: str) -> None:
    """Train all weights on prompt and completion, everything else as TRL has it."""
    rows = [json.loads(line)["messages"] for line in Path(data).read_text().splitlines()]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        processing_class=AutoTokenizer.from_pretrained(model),
        train_dataset=Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows]),
        args=SFTConfig(
            output_dir=f"{out}.output",
            max_steps=steps,
            per_device_train_batch_size=8,
            learning_rate=1e-3,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            max_length=256,
        ),
    )
    counter = TokenCounter(trainer.data_collator)
    trainer.data_collator = counter
    clock = Clock(counter)
    trainer.add_callback(clock)
    trainer.train()
    (first, before), (last, after) = clock.steps[0], clock.steps[-1]
    figures = {
        "tokens_per_second": (after - before) / (last - first),
        "real_ratio": counter.real_ratio,
        "first_step_at": first,
    }
    Path(out).write_text(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
