"""Answers decoded in batches that rows leave are those of transformers' own generate, for models of several kinds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM, PreTrainedModel

from tests.tiny import (
    make_tiny_gpt2,
    make_tiny_mixtral,
    make_tiny_model,
    make_tiny_qwen2,
    make_tiny_qwen3,
)
from tunesmith_runtime.evaluate.batching import PADDING, SMALL, TOKENS_ON_CPU, Batching
from tunesmith_runtime.evaluate.decoding import decode
from tunesmith_runtime.models.decoding import can_decode
from tunesmith_runtime.models.loading import load_causal_lm

MAKERS: dict[str, Callable[..., Path]] = {
    "llama": make_tiny_model,
    "qwen2": make_tiny_qwen2,
    "qwen3": make_tiny_qwen3,
    "mixtral": make_tiny_mixtral,
    "gpt2": make_tiny_gpt2,
}
MOST = 24
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
CPU = torch.device("cpu")


def ragged(vocabulary: int) -> list[list[int]]:
    drawn = torch.Generator().manual_seed(0)
    lengths = [1, 90, 3, 40, 17, 2, 41, 16, 64, 1]
    return [torch.randint(3, vocabulary, (length,), generator=drawn).tolist() for length in lengths]


def by_generate(model: PreTrainedModel, prompt: list[int], ends: set[int]) -> list[int]:
    config = GenerationConfig(max_new_tokens=MOST, do_sample=False, eos_token_id=sorted(ends), pad_token_id=0)
    ids = torch.tensor([prompt])
    found = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return list(found[0, len(prompt) :].tolist())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], PreTrainedModel]:
    folder = tmp_path_factory.mktemp("families")

    def make(family: str) -> PreTrainedModel:
        return load_causal_lm(MAKERS[family](folder / family, ["some words to learn from"]))

    return make


@torch.no_grad()
@pytest.mark.parametrize("family", MAKERS)
def test_answers_are_those_of_generate(made: Callable[[str], PreTrainedModel], family: str) -> None:
    model = made(family)
    assert can_decode(model)
    prompts = ragged(model.config.vocab_size)
    whole = [by_generate(model, prompt, set()) for prompt in prompts]
    # Ends that some answers meet early, some late, and some not at all.
    ends = {answer[step] for answer, step in zip(whole[::3], (2, 11, 23, 0), strict=True)}
    expected = [by_generate(model, prompt, ends) for prompt in prompts]
    assert len({len(answer) for answer in expected}) > 1
    assert decode(model, prompts, MOST, ends, Batching(None, CPU)) == expected
    assert decode(model, prompts, MOST, ends, Batching(3, CPU)) == expected


@torch.no_grad()
def test_rows_that_have_ended_leave(made: Callable[[str], PreTrainedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("llama")
    prompts = ragged(model.config.vocab_size)[:4]
    whole = [by_generate(model, prompt, set()) for prompt in prompts]
    ends = {whole[1][1]}
    expected = [by_generate(model, prompt, ends) for prompt in prompts]
    rows: list[int] = []
    forward = model.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        if kwargs["input_ids"].shape[1] == 1:
            rows.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", counted)
    assert decode(model, prompts[1:], MOST, ends, Batching(1, CPU)) == expected[1:]
    lengths = [len(answer) for answer in expected[1:]]
    assert min(lengths) < max(lengths) == MOST
    # Of three rows each is more than a quarter, and leaves at once.
    assert rows == [sum(length > step for length in lengths) for step in range(1, MOST)]


def test_an_adapter_decodes_as_well(made: Callable[[str], PreTrainedModel]) -> None:
    model = get_peft_model(made("llama"), LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False)).eval()
    assert can_decode(model)
    prompts = ragged(model.config.vocab_size)
    with torch.no_grad():
        assert decode(model, prompts, MOST, {2}, Batching(None, CPU)) == [
            by_generate(model, each, {2}) for each in prompts
        ]


def test_other_kinds_of_models_are_left_to_transformers(made: Callable[[str], PreTrainedModel]) -> None:
    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    assert not can_decode(get_peft_model(made("llama"), settings))
    sliding = MistralConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        sliding_window=8,
    )
    assert not can_decode(MistralForCausalLM(sliding))


def batches(lengths: list[int], *, rows: int | None = None, answered: bool = False) -> list[list[int]]:
    found: list[list[int]] = []
    Batching(rows, CPU).run(lengths, lambda batch: found.append([lengths[index] for index in batch]), answered=answered)
    return found


def test_samples_of_unlike_length_are_not_read_together() -> None:
    lengths = [500, 490, 300, 290, 280, 100, 4, 3, 2, 1]
    found = batches(lengths)
    assert sorted((each for batch in found for each in batch), reverse=True) == lengths
    for batch in found:
        computed = len(batch) * batch[0]
        assert computed <= TOKENS_ON_CPU
        assert sum(batch) >= (1 - PADDING) * computed or computed <= TOKENS_ON_CPU // SMALL
    assert found[0] == [500, 490]
    assert found[-1] == [3, 2, 1]


def test_who_asks_for_a_number_of_samples_gets_it() -> None:
    assert batches([9, 8, 1], rows=2) == [[9, 8], [1]]
    # Of answered samples only the prompts are padded, and those are read apart.
    assert batches([500, 4, 3], answered=True) == [[500, 4, 3]]


def test_too_long_a_sample_is_read_alone() -> None:
    assert batches([3 * TOKENS_ON_CPU, 1]) == [[3 * TOKENS_ON_CPU], [1]]


def test_memory_that_does_not_suffice_halves_batches() -> None:
    sizes: list[int] = []

    def work(batch: list[int]) -> None:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    Batching(None, CPU).run([256] * 8, work)
    assert sizes == [8, 4, 2, 2, 2, 2]
