"""What a model has to compute to learn from a token.

Each token is multiplied with every matrix: 2 operations for each of its numbers forward, 2 backward for what comes
before it, and 2 more for a matrix that is trained itself. That is 6N for full fine-tuning and about 4N for an adapter
(Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1). Attention, two products of each token
with all that it attends to, adds 12 LHQT (Chowdhery et al. 2022, "PaLM", appendix B), half of it when it is causal. It
has no weights, so an adapter saves nothing there. Padding, and what is computed again to save memory, do not count.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from tunesmith_runtime.train.counting import Counts

# Parts that see one token of a record, or that PEFT keeps but does not use.
_NOT_PER_TOKEN = {"pooler", "classifier", "pre_classifier", "original_module"}
_CROSS_ATTENTION = {"EncDecAttention", "encoder_attn", "crossattention", "cross_attn"}
_OF_THE_SOURCE = {"k", "v", "k_proj", "v_proj", "key", "value"}

# A matrix: its path in the model, how many numbers it holds, and whether it is trained.
_Matrix = tuple[list[str], int, bool]


@dataclass(frozen=True)
class Attention:
    """One layer of attention: heads times the size of a head, and what a token sees."""

    width: int
    causal: bool
    window: int | None = None
    crosses: bool = False

    def seen(self, length: float) -> float:
        """Return how many tokens a token of a sequence sees on average."""
        window = min(self.window or length, length)
        if not self.causal:
            return window
        return window - window * window / (2 * length) if length else 0.0


@dataclass(frozen=True)
class Tower:
    """Layers that the same tokens pass: the numbers in their matrices, and how many of those are trained."""

    parameters: int
    trained: int
    attention: tuple[Attention, ...] = ()


# A layer of attention with its path in the model.
_Layer = tuple[list[str], Attention]


def flops_per_token(tower: Tower, length: float, source_length: float = 0.0, *, forwards: int = 0) -> float:
    """Return the floating-point operations of learning from one token of a sequence of `length` tokens.

    For sequences of several lengths, `length` is the sum of their squares over their sum. `source_length` is what cross
    attention sees; `forwards` counts further forward passes without learning, such as DPO's through its reference.
    """
    seen = sum(layer.width * (source_length if layer.crosses else layer.seen(length)) for layer in tower.attention)
    matrices = (4 + 2 * forwards) * tower.parameters + 2 * tower.trained
    return matrices + 4 * seen * (3 + forwards)


def training_flops(towers: tuple[Tower, ...], counts: Counts, *, forwards: int = 0) -> float:
    """Return the floating-point operations of learning from batches."""
    sources = counts.real - counts.targets
    if not sources:
        return 0.0
    total = sources * flops_per_token(towers[0], counts.squares / sources, forwards=forwards)
    if len(towers) > 1 and counts.targets:
        length, source = counts.target_squares / counts.targets, counts.crossed / counts.targets
        total += counts.targets * flops_per_token(towers[1], length, source, forwards=forwards)
    return total


def matmul_parameters(model: nn.Module) -> int:
    """Return how many numbers the matrices hold that every token is multiplied with.

    Embeddings are looked up and do not count; an output layer does, also one that shares its weights with them. Of a
    mixture's experts those count that a token passes.
    """
    return sum(tower.parameters for tower in towers(model))


def towers(model: Any) -> tuple[Tower, ...]:
    """Return the tower of a model; of an encoder-decoder that of the source's tokens and that of the target's."""
    config = model.config.get_text_config()
    if not config.is_encoder_decoder:
        return (_tower(_matrices(model, config), _attention(model, config)),)
    matrices, attention = list(_matrices(model, config)), list(_attention(model, config))
    source = [each for each in matrices if _reads_source(each[0])]
    target = [each for each in matrices if not _reads_source(each[0])]
    return (
        _tower(source, [each for each in attention if _encodes(each[0])]),
        _tower(target, [each for each in attention if not _encodes(each[0])]),
    )


def _tower(matrices: Iterable[_Matrix], attention: Iterable[_Layer]) -> Tower:
    sizes = list(matrices)
    return Tower(
        parameters=sum(size for _, size, _ in sizes),
        trained=sum(size for _, size, trained in sizes if trained),
        attention=tuple(layer for _, layer in attention),
    )


def _matrices(model: nn.Module, config: Any) -> Iterator[_Matrix]:
    """Yield the path, the size and whether it is trained of every matrix.

    Sizes come from what modules say of themselves: weights in 4 bits, or spread by DeepSpeed, have other shapes.
    """
    for name, module in model.named_modules():
        path = name.split(".")
        if not _NOT_PER_TOKEN.isdisjoint(path):
            continue
        if isinstance(module, nn.Linear):
            yield path, module.in_features * module.out_features, module.weight.requires_grad
        elif isinstance(module, Conv1D):
            yield path, module.nx * module.nf, module.weight.requires_grad
        elif experts := getattr(module, "num_experts", None):
            share = getattr(config, "num_experts_per_tok", experts) / experts
            for own, weight in module.named_parameters(recurse=False):
                size = getattr(weight, "ds_numel", weight.numel())
                dimensions = len(getattr(weight, "ds_shape", weight.shape))
                if dimensions == 3:
                    yield path, round(size * share), weight.requires_grad
                elif own == "weight" and dimensions == 2:  # of the router
                    yield path, size, weight.requires_grad


def _attention(model: nn.Module, config: Any) -> Iterator[_Layer]:
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // heads)
    # Models whose layers differ say it of each; Mistral says it of all.
    whole = None if getattr(config, "layer_types", None) else getattr(config, "sliding_window", None)
    found = False
    for name, module in model.named_modules():
        causal = getattr(module, "is_causal", None)  # of every attention of transformers
        if isinstance(causal, bool):
            found, path = True, name.split(".")
            window = getattr(module, "sliding_window", whole)
            crosses = not _CROSS_ATTENTION.isdisjoint(path)
            yield path, Attention(width, causal, window if isinstance(window, int) else None, crosses)
    if not found:  # but DeBERTa's
        for _ in range(config.num_hidden_layers):
            yield [], Attention(width, causal=False)


def _encodes(path: list[str]) -> bool:
    return "encoder" in path and "decoder" not in path


def _reads_source(path: list[str]) -> bool:
    crosses = not _CROSS_ATTENTION.isdisjoint(path) and not _OF_THE_SOURCE.isdisjoint(path)
    return _encodes(path) or crosses
