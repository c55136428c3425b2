"""Prepared data on disk, where every worker of a run maps it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset

from tunesmith_api.contract import TrainRun
from tunesmith_api.finetunejob import TrainingData
from tunesmith_api.uris import join
from tunesmith_runtime import storage

TRAIN = "train"
VALIDATION = "validation"


@dataclass(frozen=True)
class TokenisedData:
    """Folders of tokenised datasets: columns input_ids, labels, and seq_lengths when packed.

    `fingerprint` names what they were made from, so that a checkpoint is not continued on other data. `shared` is
    where machines that do not see the folders get them.
    """

    train: Path
    validation: Path | None
    fingerprint: str
    shared: str | None = None

    def here(self) -> "TokenisedData":
        """Return the same data as folders that this machine sees."""
        if self.shared is None or self.train.is_dir():
            return self
        folder = storage.fetch_folder(self.shared)
        return replace(self, train=folder / TRAIN, validation=self.validation and folder / VALIDATION)


@contextmanager
def shared(data: TokenisedData, config: TrainRun) -> Iterator[TokenisedData]:
    """Give the data such that every worker of the run can have it; what was uploaded for that is deleted afterwards."""
    if config.workers == 1 or not storage.in_bucket(config.checkpoints.uri):
        yield data
        return
    uri = join(config.checkpoints.uri, f".data-a{config.run.attempt}")
    storage.delete_folder(uri)
    storage.share_folder(data.train.parent, uri)
    try:
        yield replace(data, shared=uri)
    finally:
        storage.delete_folder(uri)


def save(
    train: Dataset, validation: Dataset | None, data: TrainingData, digests: Mapping[str, str], folder: Path
) -> TokenisedData:
    """Write the datasets below `folder`, packed if the spec says so."""
    if data.packing == "bfd":
        from trl import pack_dataset

        train = pack_dataset(train, seq_length=data.max_length, strategy="bfd")
        validation = validation and pack_dataset(validation, seq_length=data.max_length, strategy="bfd")
    train.save_to_disk(str(folder / TRAIN))
    if validation is not None:
        validation.save_to_disk(str(folder / VALIDATION))
    return TokenisedData(
        train=folder / TRAIN,
        validation=folder / VALIDATION if validation is not None else None,
        fingerprint=fingerprint(data, digests),
    )


def fingerprint(data: TrainingData, digests: Mapping[str, str]) -> str:
    """Return a SHA-256 over the settings and the bytes of the datasets."""
    parts = json.dumps([data.to_json(), dict(sorted(digests.items()))], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()
