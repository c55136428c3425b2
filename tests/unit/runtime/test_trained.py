"""A checkpoint becomes a model again: to be measured, or to be published in the place of the last weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import MixtralConfig, MixtralForCausalLM, PreTrainedModel, Trainer, TrainingArguments

from tunesmith_api.training import Adapter
from tunesmith_runtime.models.adapters import apply_adapter
from tunesmith_runtime.models.loading import load_model
from tunesmith_runtime.train.best import load_weights
from tunesmith_runtime.train.ppo.policy import PolicyWithValue
from tunesmith_runtime.train.ppo.trainer import WEIGHTS
from tunesmith_runtime.train.trained import load_trained

# PEFT asks transformers by a name that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

FULL, LORA = Adapter(type="full"), Adapter(type="lora", r=2)
PROMPT = Adapter(type="prompt-tuning", num_virtual_tokens=3)
IDS = torch.tensor([[5, 6, 7, 8]])


def trained(base: Path, adapter: Adapter, seed: int = 7) -> Any:
    """Return a model of which the weights that learn have moved."""
    torch.manual_seed(seed)
    model = apply_adapter(load_model(base, "causal-lm", torch.float32), adapter, "causal-lm")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    return found


def trainer_of(model: Any, folder: Path) -> Trainer:
    return Trainer(model=model, args=TrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True))


@pytest.mark.parametrize("adapter", [FULL, LORA, PROMPT], ids=lambda each: each.type)
def test_a_checkpoint_is_the_model_that_was_saved(tiny_path: Path, tmp_path: Path, adapter: Adapter) -> None:
    model = trained(tiny_path, adapter)
    model.save_pretrained(tmp_path / "checkpoint")
    torch.testing.assert_close(logits(load_trained(tmp_path / "checkpoint", tiny_path, adapter).eval()), logits(model))

    other = trained(tiny_path, adapter, seed=8)
    assert not torch.equal(logits(other), logits(model))
    load_weights(trainer_of(other, tmp_path), tmp_path / "checkpoint", spread=False)
    assert torch.equal(logits(other), logits(model))


@pytest.mark.parametrize("adapter", [FULL, LORA], ids=lambda each: each.type)
def test_a_checkpoint_of_ppo_is_its_policy(tiny_path: Path, tmp_path: Path, adapter: Adapter) -> None:
    model = PolicyWithValue(trained(tiny_path, adapter))
    learnt = {name: each.detach().contiguous() for name, each in model.named_parameters() if each.requires_grad}
    save_file(learnt, tmp_path / WEIGHTS)
    found = load_trained(tmp_path, tiny_path, adapter).eval()
    torch.testing.assert_close(logits(found), logits(model.policy))


def test_experts_that_are_saved_under_other_names_come_back(tmp_path: Path) -> None:
    def mixture(seed: int) -> PreTrainedModel:
        torch.manual_seed(seed)
        sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
        return MixtralForCausalLM(MixtralConfig(**sizes, **heads)).eval()

    model, other = mixture(1), mixture(2)
    model.save_pretrained(tmp_path / "checkpoint")
    load_weights(trainer_of(other, tmp_path), tmp_path / "checkpoint", spread=False)
    assert torch.equal(logits(other), logits(model))
