"""Records of a batch, packed or padded, do not see each other."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import BloomConfig, BloomForCausalLM, PreTrainedModel

from tests.numbered import PT, SFT, Records, prepare, text, texts, training
from tunesmith_api.contract import RunCheckpoints, RunIdentity, TrainRun
from tunesmith_api.data import TrainingData
from tunesmith_api.finetunejob import Output
from tunesmith_api.training import Method, Training
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train import inputs
from tunesmith_runtime.train.inputs import TokenisedData
from tunesmith_runtime.train.packing import PackedCollator, PaddedCollator, check_packed_apart

SEQUENCES = [[5, 6, 7, 8, 9], [10, 11, 12], [13, 14, 15, 16], [17, 18]]
RECORDS = Records([text(*numbers) for numbers in SEQUENCES])


def run(data: TrainingData) -> TrainRun:
    return TrainRun(
        run=RunIdentity(kind="FineTuneJob", namespace="default", name="bot", uid="u", attempt=1),
        model="pvc://models/base",
        data=data,
        method=Method(),
        training=Training(),
        checkpoints=RunCheckpoints(uri="pvc://models/checkpoints", every_steps=2, keep=1),
        output=Output(uri="pvc://models/bot"),
    )


def saved(folder: Path, data: TrainingData, *records: Records) -> TokenisedData:
    return inputs.save(prepare(data, folder, *records), run(data), SFT, folder)


def packed(folder: Path) -> Dataset:
    return saved(folder, training("a", packing="bfd"), RECORDS).train.dataset()


def alone(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Return the logits of one record by itself, (tokens, vocabulary)."""
    return model(input_ids=torch.tensor([ids])).logits[0]


def test_no_token_is_lost_and_none_is_padding(tmp_path: Path) -> None:
    rows = packed(tmp_path)
    assert sorted(token for row in rows["input_ids"] for token in row) == list(range(5, 19))
    assert len(rows) == 2
    assert all(len(row) <= 8 for row in rows["input_ids"])
    assert sorted(length for row in rows["seq_lengths"] for length in row) == [2, 3, 4, 5]


@torch.no_grad()
def test_packed_logits_equal_separate_ones(tmp_path: Path, model: PreTrainedModel) -> None:
    rows = packed(tmp_path)
    batch = PackedCollator(pad_token_id=0)(list(rows))
    model.eval()
    together = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
    for row, lengths in enumerate(rows["seq_lengths"]):
        start = 0
        for length in lengths:
            ids = rows["input_ids"][row][start : start + length]
            torch.testing.assert_close(together[row, start : start + length], alone(model, ids), atol=1e-5, rtol=0)
            start += length


@torch.no_grad()
def test_padded_logits_equal_separate_ones(tmp_path: Path, model: PreTrainedModel) -> None:
    rows = list(prepare(training("a"), tmp_path, RECORDS).train)
    batch = PaddedCollator(pad_token_id=0)(rows)
    assert batch.keys() == {"input_ids", "attention_mask", "labels"}
    model.eval()
    together = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    for row, ids in enumerate(SEQUENCES):
        torch.testing.assert_close(together[row, : len(ids)], alone(model, ids), atol=1e-5, rtol=0)
        assert batch["labels"][row].tolist() == ids + [-100] * (5 - len(ids))


def test_the_first_token_of_a_record_and_padding_are_not_learned(tmp_path: Path) -> None:
    batch = PackedCollator(pad_token_id=0)(list(packed(tmp_path)))
    learned = [row[row != -100].tolist() for row in batch["labels"]]
    assert sorted(token for row in learned for token in row) == [6, 7, 8, 9, 11, 12, 14, 15, 16, 18]


def test_each_packed_token_knows_its_dataset(tmp_path: Path) -> None:
    data = training("a", "b", packing="bfd")
    rows = list(saved(tmp_path, data, RECORDS, Records([text(40, 41, 42), text(43, 44)])).train.dataset())
    batch = PackedCollator(pad_token_id=0, streams=True)(rows)
    assert "attention_mask" not in batch
    real = batch["streams"] >= 0
    assert real.sum() == 19
    assert torch.equal(batch["streams"][real], (batch["input_ids"][real] >= 40).long())
    assert "streams" not in PackedCollator(pad_token_id=0)(rows)


def test_each_padded_token_knows_its_dataset(tmp_path: Path) -> None:
    rows = list(prepare(training("a", "b"), tmp_path, Records([text(5, 6, 7)]), Records([text(40, 41)])).train)
    batch = PaddedCollator(pad_token_id=0, streams=True)(rows)
    assert batch["streams"].tolist() == [[0, 0, 0], [1, 1, -1]]
    assert "streams" not in PaddedCollator(pad_token_id=0)(rows)


@pytest.mark.parametrize("packing", ["bfd", "none"])
def test_validation_records_of_their_own_have_no_dataset(tmp_path: Path, packing: str) -> None:
    data = training("a", "b", packing=packing, validation={"dataset": {"uri": "pvc://d/v", "format": "text"}})
    prepared = prepare(data, tmp_path, texts(2), texts(2), validation=RECORDS)
    rows = list(inputs.save(prepared, run(data), SFT, tmp_path).validation["validation"].dataset())
    collator = PackedCollator if packing == "bfd" else PaddedCollator
    batch = collator(pad_token_id=0, streams=True)(rows)
    assert "streams" not in batch
    assert batch["labels"].max() == 18


def test_datasets_are_mixed_before_they_are_packed(tmp_path: Path) -> None:
    data = training("a", "b", packing="bfd", weights=[1, 1])
    rows = saved(tmp_path, data, texts(2), texts(40, first=200)).train.dataset()
    assert Counter(stream for row in rows["streams"] for stream in row) == {0: 80, 1: 80}
    assert sum(len(set(row)) == 2 for row in rows["streams"]) > len(rows) / 2


def test_held_out_records_are_packed_apart(tmp_path: Path) -> None:
    data = training("a", "b", packing="bfd", validation={"fraction": 0.5})
    result = saved(tmp_path, data, texts(8), texts(8, first=200))
    assert {name: len(rows.dataset()) for name, rows in result.validation.items()} == {"a": 1, "b": 1}
    assert sum(len(row) for row in result.validation["b"].dataset()["input_ids"]) == 8
    assert [path.name for path in tmp_path.glob("*.arrow")] == []


def test_without_packing_no_row_is_copied(tmp_path: Path) -> None:
    data = training("a", "b", weights=[9, 1], validation={"fraction": 0.5})
    result = saved(tmp_path, data, texts(8), texts(8, first=200))
    assert len(result.train.dataset()) == 40
    assert {rows.file for rows in (result.train, *result.validation.values())} == {tmp_path / "rows.arrow"}


def test_another_machine_finds_the_same_rows_in_its_own_folder(tmp_path: Path) -> None:
    data = training("a", "b", weights=[1, 1], validation={"fraction": 0.5})
    result = saved(tmp_path / "here", data, texts(8), texts(16, first=200))
    rows = result.train.dataset()["input_ids"][:]
    (tmp_path / "here").rename(tmp_path / "there")
    assert result.train.inside(tmp_path / "there").dataset()["input_ids"][:] == rows


def test_checkpoints_are_not_continued_on_other_data_or_by_another_method() -> None:
    digests = {"a": "1", "b": "2"}
    data = training("a", "b", weights=[1, 2])
    prints = {
        inputs.fingerprint(data, SFT, digests),
        inputs.fingerprint(data, SFT, {**digests, "b": "3"}),
        inputs.fingerprint(data, PT, digests),
        inputs.fingerprint(data, replace(SFT, task="seq2seq-lm"), digests),
        inputs.fingerprint(training("a", "b", weights=[1, 3]), SFT, digests),
        inputs.fingerprint(training("a", "b", weights=[1, 2], overlong="split"), SFT, digests),
        inputs.fingerprint(training("a", "b", weights=[1, 2], quality={"deduplicate": "exact"}), SFT, digests),
    }
    assert len(prints) == 7
    assert inputs.fingerprint(data, SFT, dict(reversed(digests.items()))) in prints


def test_a_model_that_keeps_records_apart_is_accepted(model: PreTrainedModel) -> None:
    check_packed_apart(model)


def test_a_model_that_lets_records_see_each_other_is_refused() -> None:
    # Bloom knows no positions: where a record starts is lost on it.
    bloom = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4))
    with pytest.raises(
        ConfigError, match=r"BloomForCausalLM lets packed records see each other; set data\.packing: none"
    ):
        check_packed_apart(bloom)
