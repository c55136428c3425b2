"""Reward models: sequence classifiers with one output, which score a prompt together with its answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.data.records import Answerable
from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.models.loading import load_tokenizer
from tunesmith_runtime.train.recipes.preference import answered


@dataclass(frozen=True)
class RewardModel:
    """A reward model and the tokenizer that its texts are read by, which need not be the policy's."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 8

    @torch.no_grad()
    def __call__(self, records: Sequence[Answerable]) -> list[float]:
        """Return the score of each prompt and its answer, tokenised as method rm tokenises them."""
        sequences = [answered(record, self.tokenizer)[0] for record in records]
        scores: list[float] = []
        for first in range(0, len(sequences), self.batch_size):
            batch = self.tokenizer.pad(
                {"input_ids": sequences[first : first + self.batch_size]}, padding_side="right", return_tensors="pt"
            ).to(self.model.device)
            scores += self.model(**batch).logits[:, 0].float().tolist()
        return scores


def load_reward_model(path: Path, device: torch.device) -> RewardModel:
    """Return the reward model of a folder, frozen, on `device`; in bf16 on a GPU, else in fp32.

    Raises ModelError when the folder holds no sequence classifier with a single output.
    """
    tokenizer = load_tokenizer(path)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=dtype, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the loaders raise whatever the broken file leads them to
        raise ModelError(f"{path} cannot be loaded as a reward model: {' '.join(str(error).split())[:300]}") from error
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{path} is not a reward model: its files lack {', '.join(missing[:3])}; train one with method rm"
        )
    if model.config.num_labels != 1:
        raise ModelError(f"{path} has {model.config.num_labels} outputs, and a reward model has one")
    model.config.pad_token_id = tokenizer.pad_token_id
    return RewardModel(model.to(device).eval().requires_grad_(requires_grad=False), tokenizer)
