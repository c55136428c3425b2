"""What learning from a token costs, against what torch counts."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from tunesmith_runtime.train.counting import Counts
from tunesmith_runtime.train.flops import flops_per_token, matmul_parameters, towers, training_flops
from tunesmith_runtime.train.peaks import peak_flops

LENGTH = 96


def llama(**changes: Any) -> LlamaForCausalLM:
    settings = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 6}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    # torch does not count what its fused attention does on a CPU.
    return LlamaForCausalLM(LlamaConfig(**{**settings, **heads, **changes}, attn_implementation="eager"))


def counted(model: Any, **batch: torch.Tensor) -> int:
    """Return what torch counts of a step; attention that is causal it counts as if it were not."""
    with FlopCounterMode(display=False) as counter:
        model(**batch).loss.backward()
    return counter.get_total_flops()


def ids(rows: int = 2, length: int = LENGTH, vocabulary: int = 64) -> torch.Tensor:
    return torch.randint(0, vocabulary, (rows, length))


def uncausal(model: Any) -> Any:
    """Have the formula count attention as torch does."""
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    return model


def test_full_fine_tuning_costs_what_torch_counts() -> None:
    model, batch = llama(), ids()
    real = counted(model, input_ids=batch, labels=batch)
    expected = batch.numel() * flops_per_token(towers(uncausal(model))[0], LENGTH)
    assert expected == pytest.approx(real, rel=0.02)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # by PEFT
def test_an_adapter_saves_the_gradients_of_frozen_matrices_but_none_of_attention() -> None:
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    model, batch = get_peft_model(llama(), lora), ids()
    real = counted(model, input_ids=batch, labels=batch)
    expected = batch.numel() * flops_per_token(towers(uncausal(model))[0], LENGTH)
    assert expected == pytest.approx(real, rel=0.05)


def test_an_encoder_costs_what_torch_counts() -> None:
    config = BertConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4)
    model, batch = BertForMaskedLM(config), ids()
    real = counted(model, input_ids=batch, labels=batch)
    assert batch.numel() * flops_per_token(towers(model)[0], LENGTH) == pytest.approx(real, rel=0.02)


def test_an_encoder_decoder_costs_what_torch_counts() -> None:
    config = T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4, decoder_start_token_id=0)
    model, source, target = T5ForConditionalGeneration(config), ids(), ids(length=40)
    real = counted(model, input_ids=source, labels=target)
    counts = Counts(
        samples=2,
        real=2 * (96 + 40),
        squares=2 * 96 * 96,
        targets=80,
        target_squares=2 * 40 * 40,
        crossed=2 * 96 * 40,
    )
    assert training_flops(towers(uncausal(model)), counts) == pytest.approx(real, rel=0.02)


def test_causal_attention_costs_half_and_a_window_less() -> None:
    model = llama()
    whole = flops_per_token(towers(uncausal(llama()))[0], LENGTH)
    matrices = 6 * matmul_parameters(model)
    assert flops_per_token(towers(model)[0], LENGTH) - matrices == pytest.approx((whole - matrices) / 2)

    config = MistralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=4,
    )
    (tower,) = towers(MistralForCausalLM(config))
    assert tower.attention[0].seen(4) == 2
    assert tower.attention[0].seen(1000) == pytest.approx(4, abs=0.01)


def test_a_shared_output_layer_counts_and_the_embeddings_do_not() -> None:
    shared, apart = llama(), llama(tie_word_embeddings=False)
    assert matmul_parameters(shared) == matmul_parameters(apart)
    assert matmul_parameters(apart) == sum(
        weight.numel() for name, weight in apart.named_parameters() if weight.ndim == 2 and "embed" not in name
    )
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    assert matmul_parameters(gpt2) == 2 * 12 * 32 * 32 + 64 * 32


def test_of_a_mixture_only_the_experts_that_a_token_passes_count() -> None:
    settings = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "num_experts_per_tok": 2,
    }
    few = matmul_parameters(MixtralForCausalLM(MixtralConfig(**settings, num_local_experts=4)))
    many = matmul_parameters(MixtralForCausalLM(MixtralConfig(**settings, num_local_experts=8)))
    assert many - few == 4 * 32  # the router alone


def test_further_forward_passes_count_a_third_each() -> None:
    (tower,) = towers(llama())
    assert flops_per_token(tower, LENGTH, forwards=1) == pytest.approx(flops_per_token(tower, LENGTH) * 4 / 3)


def test_records_of_a_pack_attend_to_themselves_only() -> None:
    model = towers(llama())
    packed = training_flops(model, Counts(samples=2, real=96, squares=2 * 48 * 48))
    alone = training_flops(model, Counts(samples=1, real=48, squares=48 * 48))
    assert packed == 2 * alone
    assert training_flops(model, Counts()) == 0


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16", 312e12),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5e12),
        ("NVIDIA H100 80GB HBM3", "bf16", 989e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA H200", "tf32", 494e12),
        ("NVIDIA L4", "fp16", 121e12),
        ("NVIDIA L40S", "bf16", 362e12),
        ("NVIDIA A10", "bf16", 125e12),
        ("Tesla V100-SXM2-16GB", "fp16", 125e12),
        ("Tesla V100-SXM2-16GB", "bf16", None),
        ("Tesla T4", "fp16", 65e12),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2e12),
        ("AMD Instinct MI300X", "bf16", 1307.4e12),
        ("NVIDIA A10G", "bf16", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bf16", None),
        ("cpu", "fp32", None),
    ],
)
def test_peaks_are_known_by_the_name_that_the_driver_says_and_never_guessed(
    name: str, precision: Any, peak: float | None
) -> None:
    assert peak_flops(name, precision) == peak
