"""Several records in one sequence, each with positions and attention of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from trl import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from tunesmith_runtime.errors import ConfigError

TOLERANCE = 1e-3
# The columns that rows are packed with.
PER_TOKEN = ("input_ids", "labels", "streams")
# Among how many rows the best fit is sought, and how many tokens of them may be in memory.
_ROWS_AT_ONCE = 10_000
_TOKENS_AT_ONCE = 1 << 24


def pack(rows: Dataset, max_length: int, file: Path) -> None:
    """Write sequences of up to `max_length` tokens to an Arrow file, each of several whole rows.

    The best fit is sought among some thousand rows at a time. Columns are those that have a value for each token
    (input_ids, labels, streams), joined, and `seq_lengths`, the lengths of the rows in a sequence.
    """
    per_token = [name for name in PER_TOKEN if name in rows.column_names]
    pack_dataset(
        rows.select_columns(per_token),
        seq_length=max_length,
        strategy="bfd",
        map_kwargs={
            "batch_size": max(1, min(_ROWS_AT_ONCE, _TOKENS_AT_ONCE // max_length)),
            "cache_file_name": str(file),
            "load_from_cache_file": False,
        },
    )


@dataclass
class PaddedCollator:
    """Batches rows, padded at the right to the longest, with a mask.

    With `streams` a batch also says of each token the number of its dataset, and -1 of padding, when its rows do.
    """

    pad_token_id: int
    streams: bool = False

    def __post_init__(self) -> None:
        self._collate = DataCollatorForLanguageModeling(pad_token_id=self.pad_token_id)

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask and labels, each (rows, longest row)."""
        batch: dict[str, torch.Tensor] = self._collate(examples)
        if self.streams and "stream" in examples[0]:
            batch["streams"] = _padded([[each["stream"]] * len(each["input_ids"]) for each in examples])
        return batch


@dataclass
class PackedCollator:
    """Batches packed sequences row by row, with positions that start again at each record, and without a mask.

    Models of transformers tell records apart by such positions when they get no attention mask. Rows stay rows: one
    row of all records, as TRL's padding-free batches are, makes attention without FlashAttention grow with the square
    of the batch. What little padding is left stands at the right, has no label, and nothing before it sees it.
    With `streams` a batch also says of each token the number of its dataset, and -1 of padding, when its rows do.
    """

    pad_token_id: int
    streams: bool = False

    def __post_init__(self) -> None:
        self._collate = DataCollatorForLanguageModeling(pad_token_id=self.pad_token_id, return_position_ids=True)

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, labels and position_ids, each (rows, longest row)."""
        batch: dict[str, torch.Tensor] = self._collate(examples)
        del batch["attention_mask"]
        # A record's first token is predicted from the record before it.
        batch["labels"][batch["position_ids"] == 0] = -100
        if self.streams and "streams" in examples[0]:
            batch["streams"] = _padded([each["streams"] for each in examples])
        return batch


def _padded(rows: list[list[int]]) -> torch.Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=-1)


@torch.no_grad()
def check_packed_apart(model: PreTrainedModel) -> None:
    """Raise ConfigError when the model lets one packed record see another.

    Compares the logits of two short sequences packed into one, with positions that start again, to those of the
    second one alone. Models that ignore positions, or attend over the border, differ by far more than rounding.
    """
    vocabulary = model.get_input_embeddings().num_embeddings
    first = torch.arange(1, 7, device=model.device) % vocabulary
    second = torch.arange(7, 12, device=model.device) % vocabulary
    positions = torch.cat([torch.arange(len(first)), torch.arange(len(second))]).to(model.device)
    was_training = model.training
    model.eval()
    try:
        alone = model(input_ids=second[None]).logits[0].float()
        packed = model(
            input_ids=torch.cat([first, second])[None], position_ids=positions[None], use_cache=False
        ).logits[0, len(first) :]
    finally:
        model.train(was_training)
    difference = (packed.float() - alone).abs().max() / alone.abs().max().clamp(min=1e-6)
    if difference > TOLERANCE:
        raise ConfigError(
            f"data.packing: bfd cannot be used: {type(model).__name__} lets packed records see each other; "
            "set data.packing: none"
        )
