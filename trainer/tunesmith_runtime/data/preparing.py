"""Datasets become token sequences to train on and to validate on."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import datasets
from transformers import PreTrainedTokenizerBase

from tunesmith_api.finetunejob import DataSummary, DroppedRecords, TrainingData
from tunesmith_runtime.data.formats import ParsedDataset
from tunesmith_runtime.data.sources import TrainingRecords
from tunesmith_runtime.data.tokenizing import Tokens, tokenize
from tunesmith_runtime.errors import DataError

VALIDATION = "validation"


@dataclass(frozen=True)
class Prepared:
    """What a training run trains on.

    Datasets have the columns input_ids and labels, lists of int of one length, at most maxLength. `digests` maps a
    dataset's name, or `validation`, to the SHA-256 of its file.
    """

    train: datasets.Dataset
    validation: datasets.Dataset | None
    summary: DataSummary
    digests: Mapping[str, str]


@dataclass(frozen=True)
class _Fitting:
    tokens: tuple[Tokens, ...]
    overlong: int
    shortest: int


def prepare(data: TrainingData, tokenizer: PreTrainedTokenizerBase, records: TrainingRecords) -> Prepared:
    """Tokenise and split the datasets; records longer than `maxLength` tokens are left out and counted.

    Raises DataError when nothing is left to train or to validate on.
    """
    parsed = records.train
    digests = {name: dataset.digest for name, dataset in parsed.items()}
    train = _fitting(parsed.values(), tokenizer, data.max_length)
    if not train.tokens:
        raise _all_too_long("data.train", train, data.max_length)
    overlong, empty = train.overlong, sum(dataset.empty for dataset in parsed.values())
    kept, held_out = train.tokens, None
    if data.validation and data.validation.fraction is not None:
        kept, held_out = _split(train.tokens, data.validation.fraction, data.seed)
    elif own := records.validation:
        digests[VALIDATION] = own.digest
        validation = _fitting([own], tokenizer, data.max_length)
        if not validation.tokens:
            raise _all_too_long("data.validation.dataset", validation, data.max_length)
        overlong, empty = overlong + validation.overlong, empty + own.empty
        held_out = validation.tokens
    summary = DataSummary(
        records=len(kept),
        validation_records=len(held_out or ()),
        tokens=sum(len(tokens.input_ids) for tokens in kept),
        dropped=DroppedRecords(overlong=overlong, empty=empty),
    )
    return Prepared(_dataset(kept), _dataset(held_out) if held_out else None, summary, digests)


def _fitting(parsed: Iterable[ParsedDataset], tokenizer: PreTrainedTokenizerBase, max_length: int) -> _Fitting:
    tokens = [tokenize(record, tokenizer) for dataset in parsed for record in dataset.records]
    fitting = tuple(each for each in tokens if len(each.input_ids) <= max_length)
    return _Fitting(fitting, len(tokens) - len(fitting), min(len(each.input_ids) for each in tokens))


def _split(tokens: Sequence[Tokens], fraction: float, seed: int) -> tuple[tuple[Tokens, ...], tuple[Tokens, ...]]:
    """Return the records to train on and those to hold out, both in their old order.

    The records are ranked by a hash of the seed and their tokens, so that neither the order of the files nor
    records that were left out decide on which side a record falls.
    """
    if len(tokens) < 2:
        raise DataError(
            "data.validation.fraction needs at least 2 records and there is 1; add records, or leave validation out"
        )

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{seed}:{tokens[index].input_ids}".encode()).digest()

    count = min(max(round(len(tokens) * fraction), 1), len(tokens) - 1)
    held_out = set(sorted(range(len(tokens)), key=rank)[:count])
    return (
        tuple(each for index, each in enumerate(tokens) if index not in held_out),
        tuple(each for index, each in enumerate(tokens) if index in held_out),
    )


def _all_too_long(field: str, fitting: _Fitting, max_length: int) -> DataError:
    return DataError(
        f"{field}: no record fits: data.maxLength is {max_length} tokens and the shortest of {fitting.overlong} has "
        f"{fitting.shortest}. Raise data.maxLength or shorten the records"
    )


def _dataset(tokens: Iterable[Tokens]) -> datasets.Dataset:
    rows = list(tokens)
    return datasets.Dataset.from_dict(
        {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    )
