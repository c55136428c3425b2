"""A sequence classifier says how toxic texts are."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from tunesmith_runtime import storage
from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.evaluate.safety.classifier_labels import checked_indices, exclusive
from tunesmith_runtime.models.lineage import model_digest
from tunesmith_runtime.models.loading import load_model, load_tokenizer
from tunesmith_runtime.models.positions import learnt_positions

# The longest text that a classifier reads which does not say; the rest of longer ones is not looked at.
_LONGEST = 512


def toxicities(uri: str, labels: Sequence[str], texts: Sequence[str], known: Answers) -> list[float]:
    """Return the probability of the toxic labels for each text; an empty one has 0.

    Of classes that exclude each other (softmax) it is the sum over the labels, else (sigmoid) the largest. What is
    known is not judged again. Raises ModelError and ConfigError.
    """
    folder = storage.model_path(uri)
    digest = model_digest(folder)
    keys = {text: known.key("toxicity", digest, sorted(labels), text) for text in texts if text.strip()}
    left = [text for text, key in keys.items() if known.get(key) is None]
    if left:
        _judge(uri, folder, labels, {text: keys[text] for text in left}, known)
    found = {text: known.get(key) for text, key in keys.items()}
    return [float((found.get(text) or {"toxicity": 0.0})["toxicity"]) for text in texts]


@torch.no_grad()
def _judge(uri: str, folder: Path, labels: Sequence[str], keys: dict[str, str], known: Answers) -> None:
    """Find out how toxic the texts are, and keep it under their keys batch by batch."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    toxic, is_softmax = checked_indices(uri, config, labels), exclusive(config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_tokenizer(folder, "sequence-classification")
    model = load_model(folder, "sequence-classification").float().to(device)
    can_read = learnt_positions(model) or getattr(model.config, "max_position_embeddings", None) or _LONGEST
    longest = min(int(tokenizer.model_max_length), can_read)
    texts = list(keys)
    rows = [tokenizer(text, truncation=True, max_length=longest, verbose=False)["input_ids"] for text in texts]

    def work(batch: list[int]) -> None:
        padded = tokenizer.pad({"input_ids": [rows[index] for index in batch]}, return_tensors="pt").to(device)
        logits = model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).logits.double()
        chosen = (logits.softmax(dim=-1) if is_softmax else logits.sigmoid())[:, toxic]
        scores = chosen.sum(dim=-1) if is_softmax else chosen.amax(dim=-1)
        known.add(
            {keys[texts[index]]: {"toxicity": score} for index, score in zip(batch, scores.tolist(), strict=True)}
        )

    Batching(None, device).run([len(row) for row in rows], work)
