"""What matrices are multiplied in."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["bf16", "fp16", "fp32"]


def autocast(precision: Precision, device: str) -> AbstractContextManager[Any]:
    """Return the context in which a model that is held in fp32 computes as in training; CPUs have no fp16."""
    if precision == "fp32" or (precision == "fp16" and device == "cpu"):
        return nullcontext()
    return torch.autocast(device, torch.bfloat16 if precision == "bf16" else torch.float16)
