"""Packed records do not see each other."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import BloomConfig, BloomForCausalLM, PreTrainedModel

from tunesmith_api.finetunejob import Dataset as DatasetSpec
from tunesmith_api.finetunejob import TrainingData
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train import inputs
from tunesmith_runtime.train.packing import PackedCollator, check_packed_apart

SEQUENCES = [[5, 6, 7, 8, 9], [10, 11, 12], [13, 14, 15, 16], [17, 18]]


def packed(folder: Path, max_length: int) -> Dataset:
    source = DatasetSpec(name="a", uri="pvc://d/x", format="text")
    data = TrainingData(train=(source,), packing="bfd", max_length=max_length)
    rows = Dataset.from_dict({"input_ids": SEQUENCES, "labels": SEQUENCES})
    return Dataset.load_from_disk(str(inputs.save(rows, None, data, {}, folder).train))


def test_no_token_is_lost_and_none_is_padding(tmp_path: Path) -> None:
    rows = packed(tmp_path, max_length=8)
    assert sorted(token for row in rows["input_ids"] for token in row) == list(range(5, 19))
    assert len(rows) == 2
    assert all(len(row) <= 8 for row in rows["input_ids"])


@torch.no_grad()
def test_packed_logits_equal_separate_ones(tmp_path: Path, model: PreTrainedModel) -> None:
    rows = packed(tmp_path, max_length=8)
    batch = PackedCollator(pad_token_id=0)(list(rows))
    model.eval()
    together = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
    for row, lengths in enumerate(rows["seq_lengths"]):
        start = 0
        for length in lengths:
            alone = model(input_ids=batch["input_ids"][row : row + 1, start : start + length]).logits[0]
            torch.testing.assert_close(together[row, start : start + length], alone, atol=1e-5, rtol=0)
            start += length


def test_the_first_token_of_a_record_and_padding_are_not_learned(tmp_path: Path) -> None:
    rows = packed(tmp_path, max_length=8)
    batch = PackedCollator(pad_token_id=0)(list(rows))
    learned = [row[row != -100].tolist() for row in batch["labels"]]
    assert sorted(token for row in learned for token in row) == [6, 7, 8, 9, 11, 12, 14, 15, 16, 18]


def test_a_model_that_keeps_records_apart_is_accepted(model: PreTrainedModel) -> None:
    check_packed_apart(model)


def test_a_model_that_lets_records_see_each_other_is_refused() -> None:
    # Bloom knows no positions: where a record starts is lost on it.
    bloom = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4))
    with pytest.raises(
        ConfigError, match=r"BloomForCausalLM lets packed records see each other; set data\.packing: none"
    ):
        check_packed_apart(bloom)
