"""Which pairs of a domain a reward model may learn in its second stage, judged by the model of the first stage.

A margin is the reward of a pair's better answer less that of its worse one, in the model's own unit (logits of the
Bradley-Terry model: a pair of margin m is ordered as it is with probability 1 / (1 + exp(-m))).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from tunesmith_runtime.errors import ConfigError, DataError, ModelError

Margins = NDArray[np.float64]


def keep(margins_general: ArrayLike, margins_domain: ArrayLike, level: float = 0.95) -> NDArray[np.bool_]:
    """Tell of each domain pair whether its margin lies in the first stage's confidence interval.

    `margins_general` are of general pairs that the first stage did not learn from, `level` is in (0, 1). Raises
    ConfigError and DataError as `lower_bound` does.
    """
    bound = lower_bound(margins_general, level)
    kept: NDArray[np.bool_] = np.asarray(margins_domain, dtype=np.float64) >= bound
    return kept


def lower_bound(margins: ArrayLike, level: float = 0.95) -> float:
    """Return where the interval begins that the next pair's margin lies in with probability `level`; at most 0.

    The interval is one-sided: no pair is too clear. It begins at the k-th smallest margin, k = floor((1 - level)(n +
    1)), whatever the distribution of margins (Vovk et al. 2005, Algorithmic Learning in a Random World; Lei et al.
    2018, arXiv:1604.04173): of pairs drawn as the general ones are, on average no more than a share of 1 - level lies
    below it. It is an interval of single margins, not of their mean, below which lie about half of all pairs. And it
    never begins above 0, because the model contradicts no pair that it orders as people did, however close.

    Raises ConfigError for a level outside (0, 1), DataError when there are too few margins for the level, or one that
    is no number.
    """
    if not 0 < level < 1:
        raise ConfigError(f"spec.method.rm: a confidence level of {level} is not between 0 and 1")
    known = np.sort(np.asarray(margins, dtype=np.float64))
    if not np.isfinite(known).all():
        raise DataError(
            f"{int((~np.isfinite(known)).sum())} of {len(known)} margins of the general pairs are no numbers"
        )
    # The product of such numbers as 0.1 and 10 is a little less than 1.
    rank = int((1 - level) * (len(known) + 1) + 1e-9)
    if rank < 1:
        needed = int(np.ceil(1 / (1 - level) - 1 - 1e-9))
        raise DataError(
            f"a confidence level of {level} needs {needed} general pairs held out and there are {len(known)}; hold out "
            "more by data.validation, or lower the level"
        )
    return min(float(known[rank - 1]), 0.0)


@torch.no_grad()
def margins(model: PreTrainedModel, rows: Sequence[dict[str, Any]], batch_size: int = 8) -> Margins:
    """Return the margins of pairs, in their order, by a reward model with one output.

    `rows` have `chosen_ids` and `rejected_ids`, each with the prompt. The model is asked in eval mode, on the device
    where it is, and left in the mode that it was in. Raises ModelError when a reward is no number, or when the model's
    configuration does not say what pads an answer.
    """
    padding = model.config.get_text_config().pad_token_id
    if padding is None:
        raise ModelError("the reward model's config.json has no pad_token_id; set it to the tokenizer's padding token")
    answers = [ids for row in rows for ids in (row["chosen_ids"], row["rejected_ids"])]
    rewards = np.empty(len(answers))
    # Answers of like lengths together need little padding.
    order = np.argsort([len(ids) for ids in answers], kind="stable")
    was_training = model.training
    model.eval()
    try:
        for first in range(0, len(order), 2 * batch_size):
            numbers = order[first : first + 2 * batch_size]
            rewards[numbers] = _rewards(model, [answers[number] for number in numbers], padding)
    finally:
        model.train(was_training)
    if not np.isfinite(rewards).all():
        raise ModelError(
            f"the reward model gives {int((~np.isfinite(rewards)).sum())} of {len(rewards)} answers a reward that is "
            "no number; train it with a lower learning rate"
        )
    return rewards[0::2] - rewards[1::2]


def _rewards(model: PreTrainedModel, answers: Sequence[list[int]], padding: int) -> Margins:
    tokens = [torch.tensor(ids, device=model.device) for ids in answers]
    outputs = model(
        input_ids=pad_sequence(tokens, batch_first=True, padding_value=padding),
        attention_mask=pad_sequence([torch.ones_like(ids) for ids in tokens], batch_first=True),
        use_cache=False,
    )
    rewards: Margins = outputs.logits.squeeze(-1).double().cpu().numpy()
    return rewards
