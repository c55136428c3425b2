"""Plain PyTorch on the batches that our trainer makes: `python -m tests.bench.bare_loop MODEL DATA OUT packed|padded`.

No Trainer, no Ray, nothing reported: what is left is what the model costs.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.bench import settings
from tests.bench.meter import Meter
from tunesmith_runtime.train.packing import PackedCollator, PaddedCollator, pack


def main(model: str, data: str, out: str, way: str) -> None:
    """Train for one epoch with AdamW, a learning rate that falls to zero, and clipped gradients."""
    packed = way == "packed"
    tokenizer = AutoTokenizer.from_pretrained(model)
    meter = Meter(model)
    meter.start()
    rows = Dataset.from_list(encode(tokenizer, Path(data)))
    if packed:
        pack(rows, settings.LENGTH, Path(out) / "packed.arrow")
        rows = Dataset.from_file(f"{out}/packed.arrow")
    torch.manual_seed(settings.SEED)
    collate = (PackedCollator if packed else PaddedCollator)(tokenizer.pad_token_id)
    size = settings.BATCH_SEQUENCES if packed else settings.BATCH_RECORDS
    batches: DataLoader[Any] = DataLoader(rows, size, shuffle=True, collate_fn=collate)
    learner = AutoModelForCausalLM.from_pretrained(model).train()
    learn(learner, batches)
    learner.save_pretrained(f"{out}/model")
    meter.write(Path(out) / "figures.json")


def learn(model: Any, batches: DataLoader[Any]) -> None:
    """Take one step for each batch."""
    optimizer = torch.optim.AdamW(model.parameters(), settings.LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=len(batches))
    for batch in batches:
        model(**batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def encode(tokenizer: Any, data: Path) -> list[dict[str, list[int]]]:
    """Return the tokens of each record, and labels of its answer."""
    rows = []
    for line in data.read_text().splitlines():
        turns = json.loads(line)["messages"]
        asked = tokenizer.apply_chat_template(turns[:-1], add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        prompt, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (asked, whole))
        rows.append({"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]})
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
