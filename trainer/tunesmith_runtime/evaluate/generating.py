"""Prompts become answers: generation in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.decoding import decode
from tunesmith_runtime.evaluate.respondent import Generation
from tunesmith_runtime.models.decoding import can_decode


@torch.no_grad()  # not inference_mode: a model that is being trained may keep what it makes here
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    generation: Generation,
    *,
    batching: Batching,
    finished: Callable[[Mapping[int, str]], None],
) -> None:
    """Continue each prompt (token ids, at least one), and call `finished` with texts by the prompts' indices.

    Whatever sampling or penalties the model's own generation config asks for, `generation` alone counts: the most
    likely token at temperature 0, else one drawn at it. An answer ends at an end-of-sequence token or after
    `max_new_tokens`. Special tokens and surrounding whitespace are left out of the texts.
    """
    lengths = [len(prompt) + generation.max_new_tokens for prompt in prompts]
    config = _config(model, tokenizer, generation)

    def decoded(batch: list[int]) -> None:
        found = decode(
            model, [prompts[index] for index in batch], generation.max_new_tokens, config.eos_token_id, batching
        )
        texts = tokenizer.batch_decode(found, skip_special_tokens=True)
        finished({index: text.strip() for index, text in zip(batch, texts, strict=True)})

    if not generation.temperature and can_decode(model):
        batching.run(lengths, decoded, answered=True)
        return

    def work(batch: list[int]) -> None:
        width = max(len(prompts[index]) for index in batch)
        padding = [width - len(prompts[index]) for index in batch]
        rows = [
            [tokenizer.pad_token_id] * pad + list(prompts[index]) for index, pad in zip(batch, padding, strict=True)
        ]
        masks = [[0] * pad + [1] * (width - pad) for pad in padding]
        with _seeded(generation):
            output = model.generate(
                input_ids=torch.tensor(rows, device=model.device),
                attention_mask=torch.tensor(masks, device=model.device),
            )
        texts = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
        finished({index: text.strip() for index, text in zip(batch, texts, strict=True)})

    with _generation_config(model, config):
        batching.run(lengths, work, answered=True)


@contextmanager
def _seeded(generation: Generation) -> Iterator[None]:
    """Draw the same tokens each time, and leave the random numbers of others alone."""
    if not generation.temperature:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(generation.seed)
        yield


def _config(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, generation: Generation) -> GenerationConfig:
    own = model.generation_config.eos_token_id if model.generation_config else None
    ends = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
    drawn = {"temperature": generation.temperature, "top_k": 0} if generation.temperature else {}
    return GenerationConfig(
        max_new_tokens=generation.max_new_tokens,
        do_sample=bool(generation.temperature),
        num_beams=1,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
        **drawn,
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
