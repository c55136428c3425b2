"""Prepared data on disk, where every worker of a run maps it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from tunesmith_api.finetunejob import TrainingData


@dataclass(frozen=True)
class TokenisedData:
    """Folders of tokenised datasets: columns input_ids, labels, and seq_lengths when packed.

    `fingerprint` names what they were made from, so that a checkpoint is not continued on other data.
    """

    train: Path
    validation: Path | None
    fingerprint: str


def save(
    train: Dataset, validation: Dataset | None, data: TrainingData, digests: Mapping[str, str], folder: Path
) -> TokenisedData:
    """Write the datasets below `folder`, packed if the spec says so."""
    if data.packing == "bfd":
        from trl import pack_dataset

        train = pack_dataset(train, seq_length=data.max_length, strategy="bfd")
        validation = validation and pack_dataset(validation, seq_length=data.max_length, strategy="bfd")
    train.save_to_disk(str(folder / "train"))
    if validation is not None:
        validation.save_to_disk(str(folder / "validation"))
    return TokenisedData(
        train=folder / "train",
        validation=folder / "validation" if validation is not None else None,
        fingerprint=fingerprint(data, digests),
    )


def fingerprint(data: TrainingData, digests: Mapping[str, str]) -> str:
    """Return a SHA-256 over the settings and the bytes of the datasets."""
    parts = json.dumps([data.to_json(), dict(sorted(digests.items()))], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()
