"""How often an epoch sees each record, so that every dataset has its share and none loses a record."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.numbered import Records, prepare, text, texts, training
from tunesmith_api.data import TrainingData
from tunesmith_runtime.data import mixing
from tunesmith_runtime.errors import ConfigError


def counts(data: TrainingData, *sizes: int) -> list[int]:
    return [len(seen) for seen in mixing.mix(data, [np.ones(size, dtype=np.int32) for size in sizes])]


def test_without_weights_each_record_is_seen_once(tmp_path: Path) -> None:
    prepared = prepare(training("a", "b"), tmp_path, texts(3), texts(2, first=200))
    assert [ids[0] for ids in prepared.train["input_ids"]] == [100, 101, 102, 200, 201]
    assert prepared.train["stream"][:] == [0, 0, 0, 1, 1]
    assert prepared.streams == ("a", "b")
    assert prepared.train_rows.indices is None
    assert [(each.name, each.records, each.tokens, each.share, each.passes) for each in prepared.summary.datasets] == [
        ("a", 3, 6, 0.6, 1.0),
        ("b", 2, 4, 0.4, 1.0),
    ]


def test_weights_give_shares_and_every_record_is_seen(tmp_path: Path) -> None:
    data = training("a", "b", "c", weights=[3, 6, 1])
    prepared = prepare(data, tmp_path, texts(10), texts(30, first=200), texts(20, first=300))
    # c is the largest for its weight: 20 of its records are 10%.
    assert Counter(prepared.train["stream"][:]) == {0: 60, 1: 120, 2: 20}
    seen = Counter(ids[0] for ids in prepared.train["input_ids"])
    assert {seen[100 + number] for number in range(10)} == {6}
    assert {seen[200 + number] for number in range(30)} == {4}
    assert {seen[300 + number] for number in range(20)} == {1}
    assert [(each.share, each.passes) for each in prepared.summary.datasets] == [(0.3, 6.0), (0.6, 4.0), (0.1, 1.0)]
    assert prepared.summary.records == 60


def test_what_is_left_of_a_share_is_a_sample_by_seed() -> None:
    data = training("a", "b", weights=[3, 4], seed=1)
    lengths = [np.ones(10, dtype=np.int32), np.ones(20, dtype=np.int32)]
    first, again = mixing.mix(data, lengths)[0], mixing.mix(data, lengths)[0]
    assert first.tolist() == again.tolist()
    assert sorted(Counter(first.tolist()).values()) == [1] * 5 + [2] * 5
    other = mixing.mix(training("a", "b", weights=[3, 4], seed=2), lengths)[0]
    assert first.tolist() != other.tolist()


@given(
    sizes=st.lists(st.integers(1, 300), min_size=3, max_size=3),
    weights=st.lists(st.floats(0.1, 10), min_size=3, max_size=3),
)
def test_shares_are_exact_to_rounding(sizes: list[int], weights: list[float]) -> None:
    amounts = mixing.amounts_of(sizes, weights)
    assert all(amount >= size for amount, size in zip(amounts, sizes, strict=True))
    assert any(amount == size for amount, size in zip(amounts, sizes, strict=True))
    scale = max(size / weight for size, weight in zip(sizes, weights, strict=True))
    assert all(abs(amount - scale * weight) <= 0.5 + 1e-6 for amount, weight in zip(amounts, weights, strict=True))


@pytest.mark.parametrize(("temperature", "expected"), [(1, [1, 10, 100]), (2, [10, 32, 100]), (100, [95, 98, 100])])
def test_temperature_brings_small_datasets_up(temperature: float, expected: list[int]) -> None:
    data = training("a", "b", "c", mixing={"temperature": temperature})
    assert counts(data, 1, 10, 100) == expected


def test_temperature_by_tokens_goes_by_tokens() -> None:
    data = training("a", "b", mixing={"temperature": 2, "by": "tokens"})
    # 400 tokens in 4 records and 100 in 100: as sizes 20 to 10.
    seen = mixing.mix(data, [np.full(4, 100, dtype=np.int32), np.ones(100, dtype=np.int32)])
    assert [len(each) for each in seen] == [4, 200]


def test_shares_of_tokens_are_right_although_lengths_vary() -> None:
    rng = np.random.default_rng(0)
    lengths = [rng.integers(10, 4000, size).astype(np.int32) for size in (3000, 50, 400)]
    data = training("a", "b", "c", weights=[0.5, 0.2, 0.3], mixing={"by": "tokens"})
    seen = mixing.mix(data, lengths)
    tokens = np.array([each[rows].sum() for each, rows in zip(lengths, seen, strict=True)])
    np.testing.assert_allclose(tokens / tokens.sum(), [0.5, 0.2, 0.3], atol=1e-5)
    assert all(set(rows.tolist()) == set(range(len(each))) for each, rows in zip(lengths, seen, strict=True))
    spread = np.bincount(seen[1])
    assert spread.max() - spread.min() <= 1


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    amount=st.integers(1, 3000),
    seed=st.integers(0, 5),
)
def test_a_share_of_tokens_misses_by_half_a_record_at_most(lengths: list[int], amount: int, seed: int) -> None:
    rows = mixing.draw_tokens(np.array(lengths, dtype=np.int32), amount, np.random.default_rng(seed))
    total = sum(lengths[row] for row in rows)
    assert abs(total - amount) <= max(lengths) / 2
    passes = amount // sum(lengths)
    assert all(passes <= (rows == row).sum() <= passes + 1 for row in range(len(lengths)))


def test_an_epoch_out_of_proportion_is_refused(tmp_path: Path) -> None:
    data = training("a", "b", weights=[1_000_000, 1])
    with pytest.raises(ConfigError) as raised:
        prepare(data, tmp_path, texts(1), texts(1, first=200))
    assert raised.value.message == (
        "data.train: an epoch that gives the datasets these shares has 1,000,001 records, more than 1,000 times the 2 "
        "that there are; bring the weights closer together"
    )


def test_held_out_records_are_no_part_of_the_mix(tmp_path: Path) -> None:
    data = training("a", "b", weights=[1, 1], validation={"fraction": 0.25})
    prepared = prepare(data, tmp_path, texts(4), texts(12, first=200))
    held = {ids[0] for rows in prepared.validation.values() for ids in rows["input_ids"]}
    trained = {ids[0] for ids in prepared.train["input_ids"]}
    assert not held & trained
    assert len(held | trained) == 16
    assert Counter(prepared.train["stream"][:]) == {0: 9, 1: 9}


def test_before_packing_the_mix_is_shuffled(tmp_path: Path) -> None:
    data = training("a", "b", weights=[1, 1], packing="bfd")
    prepared = prepare(data, tmp_path, Records([text(1, 2, 3)]), texts(40, first=200))
    streams = prepared.train["stream"][:]
    assert Counter(streams) == {0: 40, 1: 40}
    assert streams != sorted(streams)
    assert prepared.train["streams"][:] == [
        [stream] * len(ids) for stream, ids in zip(streams, prepared.train["input_ids"], strict=True)
    ]
