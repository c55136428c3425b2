"""Storage by URI: hf:// and s3:// are copied to this machine, pvc:// and file:// are folders of it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from tunesmith_api import uris
from tunesmith_api.contract import VOLUMES_VARIABLE
from tunesmith_runtime.errors import ConfigError, DataError, ModelError, NotWritableError, StorageFullError
from tunesmith_runtime.storage import buckets, folders, objects
from tunesmith_runtime.storage.buckets import BucketDestination
from tunesmith_runtime.storage.filesets import FileSet, Selection, StoredFile
from tunesmith_runtime.storage.folders import FolderDestination
from tunesmith_runtime.storage.scratch import scratch

__all__ = [
    "Destination",
    "FileSet",
    "StoredFile",
    "data_files",
    "data_folder",
    "delete_folder",
    "destination",
    "download",
    "ensure_writable",
    "fetch_folder",
    "folder_path",
    "hub_commit",
    "in_bucket",
    "local_path",
    "model_path",
    "share_folder",
    "workspace",
]


class Destination(Protocol):
    """A folder that appears as a whole or not at all."""

    def check(self) -> None:
        """Raise NotWritableError when it cannot be written, or holds something that was not published here."""

    def published(self, tag: str = "") -> AbstractContextManager[Path]:
        """Give an empty folder of this machine, and publish what it holds in the end when all went well.

        `tag` tells writers apart that may be there at the same time.
        """


def in_bucket(uri: str) -> bool:
    """Return whether the URI names objects of S3, which no path leads to."""
    return uri.startswith("s3://")


def local_path(uri: str) -> Path:
    """Return the path that a pvc:// or file:// URI names; it need not exist.

    A claim is a folder below $TUNESMITH_VOLUMES, where its volume is mounted.
    Raises ConfigError for any other scheme, or when $TUNESMITH_VOLUMES is not set.
    """
    try:
        scheme, authority, path = uris.split(uri)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if scheme == "file":
        return Path(path)
    if scheme != "pvc":
        raise ConfigError(f"{uri}: {scheme}:// cannot be read or written as files; use pvc:// or file://")
    volumes = os.environ.get(VOLUMES_VARIABLE)
    if not volumes:
        raise ConfigError(f"{uri} needs ${VOLUMES_VARIABLE}, the folder below which claims are mounted")
    return Path(volumes, authority, path)


def data_files(uri: str, wanted: Callable[[str], bool]) -> FileSet:
    """Return the files that a pvc://, file:// or s3:// URI of a file, a folder or a glob pattern names.

    Of a folder or a pattern, hidden files and those whose name `wanted` does not take are passed over. Objects of S3
    are downloaded, and deleted with the FileSet. Raises DataError when there is no such file or S3 does not give it.
    """
    selection = Selection(uri, wanted, DataError)
    return selection.in_buckets() if in_bucket(uri) else selection.in_folders(local_path)


def data_folder(uri: str) -> Path | None:
    """Return a folder of data with its files under their own names, downloaded from s3://; None of a file.

    Raises DataError when there is neither.
    """
    if in_bucket(uri):
        found = buckets.contents(uri, DataError)
        return buckets.fetch(uri, found, DataError) if found else None
    path = local_path(uri)
    if not path.exists():
        raise DataError(f"{uri}: no such file or folder ({path})")
    return path if path.is_dir() else None


def model_path(uri: str) -> Path:
    """Return the folder that holds a model; hf:// and s3:// models are downloaded first, unless they already are.

    Raises ModelError when it is missing, published by halves, or not a model in Hugging Face layout.
    """
    return _folder(uri, needed="config.json")


def folder_path(uri: str) -> Path:
    """Return a folder that has something to do with a model, such as an adapter; downloads as `model_path` does.

    Raises ModelError when there is no such folder.
    """
    return _folder(uri, needed=None)


def _folder(uri: str, needed: str | None) -> Path:
    if uri.startswith("hf://"):
        return _download(uri)
    if in_bucket(uri):
        return buckets.fetch(uri, _objects(uri, needed), ModelError)
    path = local_path(uri)
    if not path.is_dir():
        raise ModelError(f"{uri}: no such folder ({path})")
    if needed and not (path / needed).is_file():
        raise ModelError(f"{uri}: {path} is not a model in Hugging Face layout: it has no {needed}")
    return path


def ensure_writable(uri: str) -> None:
    """Make the folder that `uri` names if need be. Raises NotWritableError when it cannot be written."""
    if in_bucket(uri):
        buckets.ensure_writable(uri)
    else:
        folders.ensure_writable(uri, local_path(uri))


def destination(uri: str, marker: str) -> Destination:
    """Return the folder to publish to, having made sure that it can be written and that nothing is lost.

    `marker` is the file by which what was published before is known. Raises NotWritableError.
    """
    found: Destination = (
        BucketDestination(uri, marker) if in_bucket(uri) else FolderDestination(uri, local_path(uri), marker)
    )
    found.check()
    return found


@contextmanager
def workspace(uri: str, prefix: str) -> Iterator[Path]:
    """Give an empty folder inside `uri`, or of this machine when that lies in a bucket; it is deleted afterwards."""
    parent = scratch() if in_bucket(uri) else local_path(uri)
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as folder:
        yield Path(folder)


def share_folder(folder: Path, uri: str) -> None:
    """Upload the files below `folder` to s3:// for the run's other machines, which get them by `fetch_folder`."""
    buckets.upload(folder, uri)


def fetch_folder(uri: str) -> Path:
    """Return this machine's copy of a shared folder. Raises NotWritableError when it is not there."""
    found = objects.listing(uri, NotWritableError)
    if not found:
        raise NotWritableError(f"{uri}: no such folder: no object lies below it")
    return buckets.fetch(uri, found, NotWritableError)


def delete_folder(uri: str) -> None:
    """Delete a shared folder."""
    buckets.delete(uri)


def download(uri: str, into: Path, needed: str | None) -> None:
    """Download the folder of an hf:// or s3:// URI, which must hold a file `needed`, into `into`.

    Raises ModelError when there is none, and a retryable error when storage does not answer.
    """
    if in_bucket(uri):
        found = _objects(uri, needed)
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        buckets.download(uri, found, into, ModelError)
        return
    _download(uri, into)
    shutil.rmtree(into / ".cache", ignore_errors=True)  # what the Hub's library knows of its downloads
    if needed and not (into / needed).is_file():
        raise ModelError(f"{uri} is not a model in Hugging Face layout: it has no {needed}")


def hub_commit(uri: str) -> str:
    """Return the commit that an hf:// URI stands for now. Raises ModelError."""
    from huggingface_hub import HfApi

    _, name, revision = uris.split(uri)
    with _from_hub(uri):
        return str(HfApi().model_info(name, revision=revision or None).sha)


def _objects(uri: str, needed: str | None) -> dict[str, objects.Stored]:
    """Return the objects of a folder that holds `needed`."""
    found = buckets.contents(uri, ModelError)
    if not found:
        raise ModelError(f"{uri}: no such folder: no object lies below it")
    if needed and needed not in found:
        raise ModelError(f"{uri} is not a model in Hugging Face layout: it has no {needed}")
    return found


def _download(uri: str, into: Path | None = None) -> Path:
    from huggingface_hub import snapshot_download

    _, name, revision = uris.split(uri)
    with _from_hub(uri):
        return Path(snapshot_download(name, revision=revision or None, local_dir=into))


@contextmanager
def _from_hub(uri: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        if full := StorageFullError.caused_by(error, f"downloading {uri}"):
            raise full from error
        raise ModelError(f"{uri}: cannot be downloaded from the Hugging Face Hub: {error}") from error
