"""A tiny model of each family, and something for it to learn."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tests import tiny
from tunesmith_api.training import Task
from tunesmith_runtime.train.recipes.recipe import Labels

TEXTS = ["The sky is blue.", "How many legs has a spider?", "The moon goes round the earth."] * 8
MAKERS = {
    "llama": lambda path: tiny.make_tiny_model(path, TEXTS, hidden_size=32, vocab_size=320),
    "qwen2": lambda path: tiny.make_tiny_qwen2(path, TEXTS),
    "qwen3": lambda path: tiny.make_tiny_qwen3(path, TEXTS),
    "gpt2": lambda path: tiny.make_tiny_gpt2(path, TEXTS),
    "bert": lambda path: tiny.make_tiny_bert(path, TEXTS),
    "roberta": lambda path: tiny.make_tiny_roberta(path, TEXTS),
    "t5": lambda path: tiny.make_tiny_t5(path, TEXTS),
}
COLOURS = Labels("single", ("red", "green", "blue"))


def batch(task: Task) -> dict[str, torch.Tensor]:
    """Return two texts, the second one padded at the right, without labels."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(5, 40, (2, 9), generator=generator)
    ids[1, 6:] = 0
    ids[0, 8] = ids[1, 5] = 1  # where T5's classifier reads: at the end of the text
    found = {"input_ids": ids, "attention_mask": (torch.arange(9) < torch.tensor([[9], [6]])).long()}
    if task == "seq2seq-lm":
        found["decoder_input_ids"] = torch.randint(5, 40, (2, 4), generator=generator)
    return found


def learn_a_step(model: PreTrainedModel, task: Task) -> None:
    """Change every weight that learns, much."""
    model.train()
    torch.stack([each.square().sum() for each in _all_logits(model(**batch(task)))]).sum().backward()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)
    torch.optim.Adam(weights, lr=0.1).step()
    model.zero_grad()


def logits(model: PreTrainedModel, task: Task) -> torch.Tensor:
    """Return what the model says of the batch; of a text's padding it says nothing that counts."""
    with torch.no_grad():
        return torch.cat([each.flatten() for each in _all_logits(model.eval()(**batch(task)))])


def _all_logits(outputs: Any) -> list[torch.Tensor]:
    return [outputs.logits] if "logits" in outputs else [outputs.start_logits, outputs.end_logits]


def make(path: Path, family: str) -> Path:
    """Write the family's model to `path`; return it."""
    return MAKERS[family](path)
