"""A storage URI becomes a path on this machine."""

import os
import shutil
from pathlib import Path

from tunesmith_api import uris
from tunesmith_api.contract import VOLUMES_VARIABLE
from tunesmith_runtime.errors import ConfigError, ModelError, NotWritableError


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


def model_path(uri: str) -> Path:
    """Return the folder that holds a model, downloading an hf:// model into the Hugging Face cache first.

    Raises ModelError when it is missing or is not a model in Hugging Face layout.
    """
    if uri.startswith("hf://"):
        return _download(uri)
    path = local_path(uri)
    if not path.exists():
        raise ModelError(f"{uri}: no such folder ({path})")
    if not (path / "config.json").is_file():
        raise ModelError(f"{uri}: {path} is not a model in Hugging Face layout: it has no config.json")
    return path


def _download(uri: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    _, name, revision = uris.split(uri)
    try:
        return Path(snapshot_download(name, revision=revision or None))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(f"{uri}: cannot be downloaded from the Hugging Face Hub: {error}") from error


def ensure_writable(uri: str) -> Path:
    """Return the folder that `uri` names, made if need be. Raises NotWritableError when it cannot be written."""
    path = local_path(uri)
    probe = path / f".write-probe-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise NotWritableError(f"{uri}: {path} cannot be written: {error.strerror or error}") from error
    return path


def destination(uri: str, marker: str) -> Path:
    """Return the folder that `publish` will put in place, having made sure that it can and that nothing is lost.

    Raises NotWritableError when its parent cannot be written, when a file is in the way, or when the folder holds
    something without the file `marker`, by which what was published before is known.
    """
    path = local_path(uri)
    if path.exists() and not path.is_dir():
        raise NotWritableError(f"{uri}: {path} is a file; name a folder")
    ensure_writable(uri.rstrip("/").rpartition("/")[0])
    if path.exists() and any(path.iterdir()) and not (path / marker).is_file():
        raise NotWritableError(
            f"{uri}: {path} holds files that were not published here (there is no {marker}); "
            "name a new or an empty folder"
        )
    return path


def sync(folder: Path) -> None:
    """Flush every file below `folder`, and the folders' entries, to the disk."""
    for parent, _, files in os.walk(folder):
        for name in [*files, "."]:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def publish(staged: Path, target: Path) -> None:
    """Put the folder `staged` in the place of `target` by rename, so that no reader sees half of it.

    Both must be on one file system. A folder that is already there is swapped out, then deleted.
    """
    sync(staged)
    replaced = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    if target.exists():
        target.rename(replaced)
    staged.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
