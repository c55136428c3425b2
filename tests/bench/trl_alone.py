"""TRL by itself, as its quick start shows it: `python -m tests.bench.trl_alone MODEL DATA OUT packed|padded`."""

import json
import sys
from pathlib import Path

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from tests.bench import settings
from tests.bench.meter import Meter


def main(model: str, data: str, out: str, way: str) -> None:
    """Train all weights on prompt and completion, everything else as TRL has it but recomputation and bf16."""
    packed = way == "packed"
    tokenizer = AutoTokenizer.from_pretrained(model)
    meter = Meter(model)
    meter.start()
    rows = [json.loads(line)["messages"] for line in Path(data).read_text().splitlines()]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows]),
        args=SFTConfig(
            output_dir=f"{out}/output",
            num_train_epochs=1,
            per_device_train_batch_size=settings.BATCH_SEQUENCES if packed else settings.BATCH_RECORDS,
            packing=packed,
            max_length=settings.LENGTH,
            learning_rate=settings.LEARNING_RATE,
            seed=settings.SEED,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
        ),
    )
    trainer.train()
    trainer.save_model(f"{out}/model")
    meter.write(Path(out) / "figures.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
