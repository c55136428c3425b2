"""Answers are greedy, end where the model ends them, and do not depend on the batch."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.generating import generate
from tunesmith_runtime.evaluate.respondent import Generation
from tunesmith_runtime.models.loading import load_causal_lm

PROMPTS = ["The", "What colour is the sky? The sky is", "A spider has eight", "m"]


def answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], batch_size: int
) -> list[str]:
    done: dict[int, str] = {}
    batching = Batching(batch_size, model.device)
    generate(model, tokenizer, prompts, Generation(max_new_tokens=6), batching=batching, finished=done.update)
    return [done[index] for index in range(len(prompts))]


@pytest.fixture(scope="module")
def prompts(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    return [tokenizer(text).input_ids for text in PROMPTS]


@torch.no_grad()
def greedy(model: PreTrainedModel, prompt: list[int], end: int, steps: int) -> list[int]:
    ids = list(prompt)
    for _ in range(steps):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == end:
            break
    return ids[len(prompt) :]


def test_each_answer_is_the_most_likely_one_in_any_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]]
) -> None:
    by_hand = [greedy(model, prompt, tokenizer.eos_token_id, 6) for prompt in prompts]
    expected = [str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in by_hand]
    assert len(set(expected)) > 1
    assert answers(model, tokenizer, prompts, 1) == expected
    assert answers(model, tokenizer, prompts, 3) == expected
    assert answers(model, tokenizer, prompts, 8) == expected


def test_an_answer_ends_at_the_end_token(
    tiny_path: Path, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]]
) -> None:
    ending = load_causal_lm(tiny_path)
    with torch.no_grad():
        rest = greedy(ending, prompts[0], -1, 1)[0]
    assert len(answers(ending, tokenizer, prompts[:1], 1)[0]) > len(str(tokenizer.decode([rest])).strip())
    ending.generation_config.eos_token_id = [rest]
    assert answers(ending, tokenizer, prompts[:1], 1) == [str(tokenizer.decode([rest])).strip()]


def test_the_models_own_sampling_and_penalties_are_put_aside(
    tiny_path: Path, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]]
) -> None:
    moody = load_causal_lm(tiny_path)
    expected = answers(moody, tokenizer, prompts, 4)
    moody.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, max_length=3)
    own = moody.generation_config
    assert answers(moody, tokenizer, prompts, 4) == expected
    assert moody.generation_config is own
