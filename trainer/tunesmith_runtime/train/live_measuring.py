"""The model that is being trained is measured between two steps, and training notices nothing of it."""

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, Trainer

from tunesmith_runtime.evaluate.measuring import Observer, measure_model
from tunesmith_runtime.evaluate.samples import LoadedSuite
from tunesmith_runtime.models.adapted import without_prompt
from tunesmith_runtime.train.ppo.policy import PolicyWithValue
from tunesmith_runtime.train.precision import Precision, autocast
from tunesmith_runtime.train.recovery.life import beat


def measure_live(
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerBase,
    suites: Sequence[LoadedSuite],
    precision: Precision,
    *,
    batch_size: int,
) -> dict[str, float]:
    """Return the suites' metrics of a Trainer's model as it stands, by SUITE/METRIC.

    Random states, and which modules are in training mode, are as before afterwards.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, PolicyWithValue):
        model = model.policy
    with ExitStack() as stack:
        stack.enter_context(_random_states())
        stack.enter_context(_evaluating(model))
        stack.enter_context(without_prompt(model))
        stack.enter_context(autocast(precision, model.device.type))
        observer = Observer(stage=lambda _: beat(), samples=lambda _: beat())
        return measure_model(model, tokenizer, suites, batch_size=batch_size, observer=observer)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _random_states() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
