"""Datasets become rows of tokens to train on and to validate on: on disk, and never all in memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import datasets
import numpy as np
from transformers import PreTrainedTokenizerBase

from tunesmith_api.data import Quality, TrainingData
from tunesmith_runtime.data import mixing
from tunesmith_runtime.data.encoded import EncodedRows, RowWriter
from tunesmith_runtime.data.encoding import EncodedDataset, Encoding
from tunesmith_runtime.data.holdout import Pool, pooled
from tunesmith_runtime.data.kinds import CheckedRecords, RecordSource
from tunesmith_runtime.data.overlong import check_overlong
from tunesmith_runtime.data.records import Record
from tunesmith_runtime.data.summing import Share, summarise
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.recipes.recipe import Encoder, Labels, Recipe

if TYPE_CHECKING:
    from tunesmith_api.finetunejob import DataSummary
    from tunesmith_runtime.data.quality import Cleaner

VALIDATION = "validation"


class RecordSources(Protocol):
    """The training datasets by name, and the validation dataset if it is one of its own."""

    @property
    def train(self) -> Mapping[str, RecordSource]:
        """Those of the spec."""

    @property
    def validation(self) -> RecordSource | None:
        """None when there is none, or when it is a share of the training records."""


@dataclass(frozen=True)
class Prepared:
    """What a training run trains on.

    `train_rows` are an epoch, in which rows repeat when datasets are mixed; `Encoding` says which columns they have.
    `validation_rows` has an entry for the held-out part of each dataset, or a single one named `validation`.
    `streams` are the names of the datasets. `digests` maps a dataset's name, or `validation`, to the SHA-256 of its
    files.
    """

    train_rows: EncodedRows
    validation_rows: Mapping[str, EncodedRows]
    labels: Labels | None
    summary: "DataSummary"
    digests: Mapping[str, str]
    streams: tuple[str, ...]

    @cached_property
    def train(self) -> datasets.Dataset:
        """An epoch, mapped into memory."""
        return self.train_rows.dataset()

    @cached_property
    def validation(self) -> Mapping[str, datasets.Dataset]:
        """The validation sets, mapped into memory."""
        return {name: rows.dataset() for name, rows in self.validation_rows.items()}


def prepare(
    data: TrainingData,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    records: RecordSources,
    folder: Path,
    *,
    place: str = "data.train",
) -> Prepared:
    """Clean, encode, split and mix the datasets; rows are written to files in `folder`.

    `place` is where the spec names the datasets.

    Raises ConfigError for settings that the recipe cannot follow and for shares out of proportion, and DataError for
    records that the recipe does not learn from, and when nothing of a dataset is left to train or to validate on.
    """
    check_overlong(data, recipe)
    _check_packing(data, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    checked = {
        each.name: CheckedRecords(f"{place}: dataset {each.name}", each, records.train[each.name], recipe)
        for each in data.train
    }
    labels = recipe.labels(chain.from_iterable(checked.values())) if recipe.labels else None
    fraction = data.validation.fraction if data.validation else None
    encoding = Encoding(data, recipe, Encoder(tokenizer, data.max_length, labels), ranked=fraction is not None)
    digests: dict[str, str] = {}
    cleaner = _cleaner(data.quality, digests)
    rows = EncodedRows(folder / "rows.arrow")
    with RowWriter(rows.file) as writer:
        encoded = [
            _encoded(encoding, each, cleaner, writer, name, stream)
            for stream, (name, each) in enumerate(checked.items())
        ]
    digests |= {name: records.train[name].digest for name in checked}
    empty = sum(records.train[name].empty for name in checked)
    pools = [pooled(each, fraction) for each in encoded]
    positions = mixing.mix(data, [pool.lengths for pool in pools])
    validation = _held_out(rows, pools)
    validation_records = sum(pool.held_records for pool in pools)
    if (own := records.validation) is not None and data.validation is not None and data.validation.dataset is not None:
        validation[VALIDATION] = EncodedRows(folder / "validation.arrow")
        its_records = CheckedRecords("data.validation.dataset", data.validation.dataset, own, recipe)
        with RowWriter(validation[VALIDATION].file) as writer:
            encoded.append(_encoded(encoding, its_records, None, writer, VALIDATION, None))
        validation_records = len(encoded[-1].rows_of_records)
        digests[VALIDATION], empty = own.digest, empty + own.empty
    return Prepared(
        train_rows=_epoch(rows, data, pools, positions),
        validation_rows=validation,
        labels=labels,
        summary=summarise(
            [
                Share(pool.name, pool.records, pool.lengths, pool.lengths[seen])
                for pool, seen in zip(pools, positions, strict=True)
            ],
            encoded,
            by_tokens=data.mixing.by == "tokens",
            validation_records=validation_records,
            empty=empty,
            quality=cleaner.counts if cleaner else None,
        ),
        digests=digests,
        streams=tuple(checked),
    )


def _encoded(
    encoding: Encoding,
    records: CheckedRecords,
    cleaner: "Cleaner | None",
    writer: RowWriter,
    name: str,
    stream: int | None,
) -> EncodedDataset:
    """Clean and write the records of one dataset. Raises DataError when nothing is left."""
    seen = 0

    def counted() -> Iterator[Record]:
        nonlocal seen
        for record in records:
            seen += 1
            yield record

    encoded = encoding.write(name, cleaner.clean(counted()) if cleaner else counted(), writer, stream)
    encoded.check_left(records.place, records.records.empty, removed=seen - encoded.records)
    return encoded


def _held_out(rows: EncodedRows, pools: Sequence[Pool]) -> dict[str, EncodedRows]:
    """Return the held-out rows of each dataset under its name, or of a single one as `validation`."""
    return {
        pool.name if len(pools) > 1 else VALIDATION: rows.chosen(pool.held, f"held-out-{pool.name}")
        for pool in pools
        if len(pool.held)
    }


def _epoch(
    rows: EncodedRows, data: TrainingData, pools: Sequence[Pool], positions: Sequence[mixing.Positions]
) -> EncodedRows:
    """Return the rows that an epoch sees, dataset by dataset; the Trainer shuffles them anew in each."""
    order = np.concatenate([pool.kept[seen] for pool, seen in zip(pools, positions, strict=True)])
    if data.packing == "bfd" and len(pools) > 1:
        # Neighbours are packed together: a sequence shall hold records of all datasets, and seldom one of them twice.
        order = np.random.default_rng(data.seed).permutation(order)
    elif len(order) == sum(len(pool.kept) + len(pool.held) for pool in pools) and (np.diff(order) > 0).all():
        return rows
    return rows.chosen(order, "epoch")


def _cleaner(quality: Quality, digests: dict[str, str]) -> "Cleaner | None":
    """Return what cleans the training records, None when nothing is to be done; notes what it compares them with."""
    by_default = Quality(near_similarity=quality.near_similarity, decontamination_ngram=quality.decontamination_ngram)
    if quality == by_default:
        return None
    from tunesmith_runtime.data.quality import Cleaner
    from tunesmith_runtime.data.streams import open_records

    def evaluation_records() -> Iterator[Record]:
        for number, source in enumerate(quality.decontaminate_against):
            records = open_records(source)
            yield from records
            digests[f"decontaminateAgainst[{number}]"] = records.digest

    return Cleaner(quality, evaluation_records())


def _check_packing(data: TrainingData, recipe: Recipe) -> None:
    if data.packing != "none" and not recipe.is_plain:
        raise ConfigError(
            f"data.packing: {data.packing} joins records to longer sequences, which is for method sft or pt of task "
            f"causal-lm, and this is method {recipe.method} of task {recipe.task}; set it to none"
        )
