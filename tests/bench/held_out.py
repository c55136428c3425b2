"""The same judge for all: the loss of trained models on answers that none of them has seen.

`python -m tests.bench.held_out DATA BASE MODEL…` prints a loss for each model. What trainers report themselves is
averaged in ways of their own.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.bench.bare_loop import encode


@torch.no_grad()
def loss(model: Any, rows: list[dict[str, list[int]]]) -> float:
    """Return the mean negative log-likelihood, in nats, of all tokens of the answers."""
    total, count = 0.0, 0
    for row in rows:
        ids, labels = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])[1:]
        logits = model(ids[None]).logits[0, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
        count += int((labels != -100).sum())
    return total / count


def main(data: str, base: str, *models: str) -> None:
    """Print the losses as a JSON list."""
    rows = encode(AutoTokenizer.from_pretrained(base), Path(data))
    loaded = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval() for path in models)
    print(json.dumps([loss(model, rows) for model in loaded]))


if __name__ == "__main__":
    main(*sys.argv[1:])
