"""A folder of this machine for what lies in buckets: copies of it, and what is about to be uploaded."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunesmith_runtime.errors import ConfigError


def scratch(*names: str) -> Path:
    """Return this user's scratch folder below the temporary folder of the machine, or a folder inside it, made."""
    root = Path(tempfile.gettempdir(), f"tunesmith-{os.getuid()}")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = root.lstat()
    if found.st_uid != os.getuid() or root.is_symlink() or found.st_mode & 0o077:
        raise ConfigError(f"{root} belongs to somebody else or is open to others; delete it, or set TMPDIR")
    folder = root.joinpath(*names)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def short_hash(*texts: str) -> str:
    """Return a name for a folder that stands for these texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep the machine's other processes that ask for the same lock away from `path`."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
