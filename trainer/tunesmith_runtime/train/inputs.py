"""Prepared data on disk, where every worker of a run maps it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tunesmith_api.contract import TrainRun
from tunesmith_api.data import TrainingData
from tunesmith_api.training import Task
from tunesmith_runtime import storage
from tunesmith_runtime.data.encoded import EncodedRows
from tunesmith_runtime.data.preparing import Prepared
from tunesmith_runtime.train.domain.rows import DomainRows
from tunesmith_runtime.train.recipes.recipe import Labels, Recipe
from tunesmith_runtime.train.recovery import leftovers


@dataclass(frozen=True)
class TokenisedData:
    """The rows to train and to validate on, in files that `EncodedRows.dataset` maps, all in one folder.

    `streams` are the names of the datasets. `fingerprint` names what the rows were made from, so that a checkpoint is
    not continued on other data. `shared` is where machines that do not see the folder get it.
    `domain` are the rows of a reward model's second stage.
    """

    task: Task
    train: EncodedRows
    validation: Mapping[str, EncodedRows]
    labels: Labels | None
    streams: tuple[str, ...]
    fingerprint: str
    shared: str | None = None
    domain: DomainRows | None = None

    def here(self) -> "TokenisedData":
        """Return the same data in files that this machine sees."""
        if self.shared is None or self.train.file.is_file():
            return self
        folder = storage.fetch_folder(self.shared)
        return replace(
            self,
            train=self.train.inside(folder),
            validation={name: rows.inside(folder) for name, rows in self.validation.items()},
            domain=self.domain and self.domain.inside(folder),
        )


@contextmanager
def shared(data: TokenisedData, config: TrainRun) -> Iterator[TokenisedData]:
    """Give the data such that every worker of the run can have it; what was uploaded for that is deleted afterwards."""
    if config.workers == 1 or not storage.in_bucket(config.checkpoints.uri):
        yield data
        return
    uri = leftovers.shared_data(config, config.run.attempt)
    storage.delete_folder(uri)
    storage.share_folder(data.train.file.parent, uri)
    try:
        yield replace(data, shared=uri)
    finally:
        storage.delete_folder(uri)


def save(data: Prepared, config: TrainRun, recipe: Recipe, folder: Path) -> TokenisedData:
    """Return the rows as the workers see them: the files as they are, or packed in others that take their place.

    `folder` is the one that the data was prepared in.
    """
    train, validation = data.train_rows, dict(data.validation_rows)
    if config.data.packing == "bfd":
        length = config.data.max_length
        train = _packed(train, length, folder / "packed" / "train.arrow")
        validation = {
            name: _packed(rows, length, folder / "packed" / f"validation-{name}.arrow")
            for name, rows in validation.items()
        }
        for file in folder.glob("*.arrow"):
            file.unlink()
    return TokenisedData(
        task=recipe.task,
        train=train,
        validation=validation,
        labels=data.labels,
        streams=data.streams,
        fingerprint=fingerprint(config.data, recipe, data.digests),
    )


def fingerprint(data: TrainingData, recipe: Recipe, digests: Mapping[str, str]) -> str:
    """Return a SHA-256 over what the rows depend on: the settings, the recipe and the bytes of the datasets."""
    parts = json.dumps([data.to_json(), recipe.task, recipe.method, dict(sorted(digests.items()))], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def _packed(rows: EncodedRows, max_length: int, file: Path) -> EncodedRows:
    from tunesmith_runtime.train.packing import pack

    file.parent.mkdir(exist_ok=True)
    pack(rows.dataset(), max_length, file)
    return EncodedRows(file)
