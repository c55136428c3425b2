"""The model answers prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answers:
    """Prompts, padded on the left, each with its answer, padded on the right; (answers, tokens).

    `mask` is 1 at the tokens of an answer, the one that ends it included, and has its length. `ended` says for each
    whether it ended by itself.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    mask: torch.Tensor
    ended: torch.Tensor

    @property
    def length(self) -> int:
        """Tokens of the longest answer."""
        return self.mask.shape[1]

    def texts(self, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """Return the answers without special tokens."""
        ids = self.input_ids[:, -self.length :]
        kept = [row[valid].tolist() for row, valid in zip(ids, self.mask.bool(), strict=True)]
        return list(tokenizer.batch_decode(kept, skip_special_tokens=True))


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn: from the whole distribution, because that is what the losses are about."""

    max_length: int
    temperature: float

    def options(self, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """Return keyword arguments of GenerationConfig; every token that the model declares ends an answer."""
        declared = model.generation_config.eos_token_id
        ends = declared if isinstance(declared, list) else [] if declared is None else [declared]
        return {
            "max_new_tokens": self.max_length,
            "do_sample": True,
            "temperature": self.temperature,
            "top_k": 0,
            "top_p": 1.0,
            "min_p": None,
            "repetition_penalty": 1.0,
            "eos_token_id": list(dict.fromkeys([tokenizer.eos_token_id, *ends])),
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
        }


def draw(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
) -> Answers:
    """Draw an answer to each prompt; `model` is the bare one, in eval mode."""
    padded = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(model.device)
    prompt, prompt_mask = padded["input_ids"], padded["attention_mask"]
    options = sampling.options(model, tokenizer)
    with torch.no_grad():
        whole = model.generate(
            input_ids=prompt,
            attention_mask=prompt_mask,
            generation_config=GenerationConfig(**options, disable_compile=True),
        )
    written = whole[:, prompt.shape[1] :]
    mask, ended = until_end(written, options["eos_token_id"])
    tokens = torch.where(mask.bool(), written, tokenizer.pad_token_id)
    return Answers(torch.cat([prompt, tokens], dim=1), torch.cat([prompt_mask, mask], dim=1), mask, ended)


def until_end(tokens: torch.Tensor, ends: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a mask that is 1 up to the first token of `ends` in each row, that token included, and which rows have it.

    `tokens` is (rows, tokens); a row without such a token is masked as a whole.
    """
    is_end = torch.isin(tokens, torch.tensor(list(ends), device=tokens.device))
    before = is_end.long().cumsum(1) - is_end.long()
    return (before == 0).long(), is_end.any(1)
