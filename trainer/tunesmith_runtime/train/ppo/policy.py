"""The policy and its value head in one module, which is what the optimizer, DDP and DeepSpeed see."""

import inspect
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from torch import nn
from torch.nn.functional import log_softmax
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel


class Evaluation(NamedTuple):
    """Of each token of each answer, (answers, tokens): its log-probability, the value before it, the entropy there."""

    log_probs: torch.Tensor
    values: torch.Tensor
    entropies: torch.Tensor


class PolicyWithValue(nn.Module):
    """A causal language model, and a number for each position: what the rest of the answer is expected to earn.

    The head reads what the output layer reads. It begins at zero, so that it favours nothing and draws no random
    numbers.
    """

    def __init__(self, policy: PreTrainedModel | PeftModel) -> None:
        super().__init__()
        self.policy = policy
        self.value_head = nn.Linear(policy.config.get_text_config().hidden_size, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        base = policy.get_base_model() if isinstance(policy, PeftModel) else policy
        known = inspect.signature(base.forward).parameters
        self._takes_positions = "position_ids" in known
        self._takes_logits_to_keep = "logits_to_keep" in known

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, answer_length: int, temperature: float
    ) -> Evaluation:
        """Evaluate the last `answer_length` tokens of each sequence, at the temperature that they were drawn at."""
        options: dict[str, Any] = {"use_cache": False}
        if self._takes_positions:
            options["position_ids"] = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        if self._takes_logits_to_keep:
            options["logits_to_keep"] = answer_length + 1
        read: list[torch.Tensor] = []
        hook = self.policy.get_output_embeddings().register_forward_pre_hook(lambda _, given: read.append(given[0]))
        try:
            logits = self.policy(input_ids=input_ids, attention_mask=attention_mask, **options).logits
        finally:
            hook.remove()
        answer = slice(-answer_length - 1, -1)
        distribution = log_softmax(logits[:, answer].float() / temperature, dim=-1)
        tokens = input_ids[:, -answer_length:, None]
        hidden = read[0][:, answer].to(self.value_head.weight.dtype)
        return Evaluation(
            log_probs=distribution.gather(-1, tokens).squeeze(-1),
            values=self.value_head(hidden).squeeze(-1).float(),
            entropies=_entropies(distribution),
        )

    @property
    def config(self) -> PretrainedConfig:
        """The policy's, which the Trainer and those who measure it look at."""
        return self.policy.config

    @property
    def generation_config(self) -> GenerationConfig:
        """The policy's."""
        return self.policy.generation_config

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Compute the policy's activations again in the backward pass."""
        self.policy.activation_checkpointing_enable(**options)
        if isinstance(self.policy, PeftModel):
            self.policy.enable_input_require_grads()


@torch.no_grad()
def _entropies(distribution: torch.Tensor) -> torch.Tensor:
    return -(distribution.exp() * distribution).sum(-1)
