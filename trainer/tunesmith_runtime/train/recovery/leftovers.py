"""What attempts that were killed had no time to delete: half a model, and the prepared data."""

import shutil
from pathlib import Path

from tunesmith_api.contract import TrainRun
from tunesmith_api.uris import join
from tunesmith_runtime import storage


def staging_tag(attempt: int) -> str:
    """Return what tells the staged model of an attempt from those of others."""
    return f"-{attempt}"


def data_prefix(attempt: int) -> str:
    """Return how the folder of an attempt's prepared data begins."""
    return f".data-a{attempt}-"


def shared_data(config: TrainRun, attempt: int) -> str:
    """Return where an attempt of the run puts its prepared data for machines that do not see its folder."""
    return join(config.checkpoints.uri, f".data-a{attempt}")


def delete(config: TrainRun) -> None:
    """Delete what earlier attempts of the run have left in its volumes and buckets; none of them runs any more.

    This one may have left something as well: an old Kubernetes starts another pod within the attempt.
    """
    for attempt in range(1, config.run.attempt + 1):
        if storage.in_bucket(config.checkpoints.uri):
            storage.delete_folder(shared_data(config, attempt))
        else:
            _delete(storage.local_path(config.checkpoints.uri), data_prefix(attempt))
        if not storage.in_bucket(config.output.uri):
            target = storage.local_path(config.output.uri)
            shutil.rmtree(target.with_name(f".{target.name}.staged{staging_tag(attempt)}"), ignore_errors=True)


def _delete(folder: Path, prefix: str) -> None:
    for path in folder.glob(f"{prefix}*"):
        shutil.rmtree(path, ignore_errors=True)
