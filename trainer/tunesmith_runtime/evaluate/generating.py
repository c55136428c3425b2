"""Prompts become answers: greedy generation in batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


@torch.no_grad()  # not inference_mode: a model that is being trained may keep what it makes here
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    progress: Callable[[int], None],
) -> list[str]:
    """Return the most likely continuation of each prompt (token ids, at least one), in the prompts' order.

    Whatever sampling or penalties the model's own generation config asks for, generation is greedy and ends at an
    end-of-sequence token or after `max_new_tokens`. Special tokens and surrounding whitespace are left out of the
    texts. `progress` is called after each batch with the number of prompts in it.
    """
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    answers = [""] * len(prompts)
    with _generation_config(model, _greedy(model, tokenizer, max_new_tokens)):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            width = max(len(prompts[index]) for index in batch)
            padding = [width - len(prompts[index]) for index in batch]
            rows = [
                [tokenizer.pad_token_id] * pad + list(prompts[index]) for index, pad in zip(batch, padding, strict=True)
            ]
            masks = [[0] * pad + [1] * (width - pad) for pad in padding]
            output = model.generate(
                input_ids=torch.tensor(rows, device=model.device),
                attention_mask=torch.tensor(masks, device=model.device),
            )
            texts = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
            for index, text in zip(batch, texts, strict=True):
                answers[index] = text.strip()
            progress(len(batch))
    return answers


def _greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> GenerationConfig:
    own = model.generation_config.eos_token_id if model.generation_config else None
    ends = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
    )


@contextmanager
def _generation_config(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Put `config` in the place of the model's own, which would otherwise fill in what `config` leaves open.

    PEFT hands it on to the model below its adapter, which would keep it.
    """
    own = model.generation_config
    below = model.get_base_model() if isinstance(model, PeftModel) else model
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = below.generation_config = own
