"""Models of hf:// and s3:// in a folder that pods share: each is downloaded once, checked, and there as a whole or not.

The folder is $TUNESMITH_MODEL_CACHE, on a node or a volume. Who comes first downloads, and the others wait for it.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tunesmith_api.contract import MODEL_CACHE_VARIABLE
from tunesmith_runtime import storage
from tunesmith_runtime.errors import ModelError, NotWritableError, RunError, storage_error
from tunesmith_runtime.models.lineage import model_digest
from tunesmith_runtime.storage import buckets, objects
from tunesmith_runtime.storage.scratch import short_hash

# Says that a folder is whole: which model it is, and its files with their sizes.
MARKER = ".tunesmith-kept.json"
# What file systems say that know no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def kept_model(uri: str, digest: str | None = None) -> Path:
    """Return the folder of a model, downloaded unless it is kept already; `digest` is that of its files, where known.

    Without $TUNESMITH_MODEL_CACHE, and for what needs no download, this is `storage.model_path`. Raises ModelError
    when there is no model or its digest is another, and a retryable error when storage fails.
    """
    return _kept(uri, digest, of_model=True)


def kept_folder(uri: str) -> Path:
    """Return a folder that has something to do with a model, such as an adapter; else as `kept_model`.

    Where the folder of models may only be read, what it does not have is fetched for this process alone.
    """
    return _kept(uri, None, of_model=False)


def _kept(uri: str, digest: str | None, *, of_model: bool) -> Path:
    root = os.environ.get(MODEL_CACHE_VARIABLE)
    if not root or not (uri.startswith("hf://") or storage.in_bucket(uri)):
        return storage.model_path(uri) if of_model else storage.folder_path(uri)
    folder = Path(root, short_hash(*_identity(uri, digest)))
    if not _is_whole(folder):
        if not of_model and not os.access(root, os.W_OK):
            return storage.folder_path(uri)  # for this process alone
        try:
            Path(root).mkdir(parents=True, exist_ok=True)
            with _locked(folder) as alone:
                if not _is_whole(folder):  # nobody has finished it meanwhile
                    _fetch(uri, digest, folder, alone, of_model)
        except OSError as error:
            found = storage_error(error, f"fetching {uri} into {root}")
            raise found or NotWritableError(
                f"{uri} cannot be fetched into {root}: {error.strerror or error}; check the volume and its rights"
            ) from error
    with suppress(OSError):  # on a volume that is mounted to be read only
        os.utime(folder / MARKER)
    return folder


def _identity(uri: str, digest: str | None) -> list[str]:
    """Return what tells a model from what its URI may come to hold later."""
    if digest:
        return [uri.rstrip("/"), digest]
    if storage.in_bucket(uri):
        found = buckets.contents(uri, ModelError)
        return [
            objects.endpoint(),
            uri.rstrip("/"),
            *(f"{name} {stored.size} {stored.etag}" for name, stored in found.items()),
        ]
    return [uri, storage.hub_commit(uri)]


def _is_whole(folder: Path) -> bool:
    """Return whether a folder was completed, and its files still have their sizes."""
    try:
        sizes = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Keep other pods from fetching the same; give whether that is possible here."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another pod fetches the model; waiting for it", flush=True)  # noqa: T201 - the run's log
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            yield False
            return
        yield True


def _fetch(uri: str, digest: str | None, folder: Path, alone: bool, of_model: bool) -> None:
    """Put the model into its place; where pods cannot be told apart, each downloads, and the first one wins."""
    partial = folder.with_name(f"{folder.name}.partial" if alone else f"{folder.name}.partial-{os.getpid()}")
    found = _download(uri, partial, of_model, digest)
    if digest and found != digest:
        shutil.rmtree(partial, ignore_errors=True)  # it may have been damaged on its way
        found = _download(uri, partial, of_model, digest)
    if digest and found != digest:
        shutil.rmtree(partial, ignore_errors=True)
        raise ModelError(
            f"{uri} has the digest {found}, and {digest} was published and evaluated: its files have been changed "
            "since; publish the model again, or evaluate it as it is now"
        )
    files = {path.relative_to(partial).as_posix(): path.stat().st_size for path in partial.rglob("*") if path.is_file()}
    marker = {"uri": uri, "digest": digest, "files": files}
    (partial / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        partial.rename(folder)
    except OSError:
        if not _is_whole(folder):  # somebody without a lock was faster
            raise
        shutil.rmtree(partial, ignore_errors=True)


def _download(uri: str, into: Path, of_model: bool, digest: str | None) -> str | None:
    """Download a folder; return its digest where one is to be compared. What was left of another try is used."""
    try:
        storage.download(uri, into, "config.json" if of_model else None)
    except RunError:
        if storage.in_bucket(uri):
            shutil.rmtree(into, ignore_errors=True)
        raise
    return model_digest(into) if digest else None
