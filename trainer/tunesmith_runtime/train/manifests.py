"""The manifest of a checkpoint: what it was trained on, and the digest of each of its files."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

MANIFEST = "tunesmith.json"


@dataclass(frozen=True)
class FileRecord:
    """What a file holds."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a complete checkpoint holds. `fingerprint` names the data it was trained on."""

    step: int
    fingerprint: str
    files: Mapping[str, FileRecord]

    def text(self) -> str:
        """Return it as JSON."""
        files = {name: vars(record) for name, record in self.files.items()}
        return json.dumps({"step": self.step, "fingerprint": self.fingerprint, "files": files}, indent=1)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the manifest in the folder, or None when there is none that can be read."""
        try:
            value: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            files = {name: FileRecord(int(each["size"]), str(each["sha256"])) for name, each in value["files"].items()}
            return cls(int(value["step"]), str(value["fingerprint"]), files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def damage(self, folder: Path) -> str | None:
        """Return what is wrong with the files in the folder, None when they are just as they were written."""
        for name, record in self.files.items():
            file = folder / name
            try:
                size = file.stat().st_size
                if size != record.size:
                    return f"{name} has {size} bytes, and {record.size} were written"
                if _digest(file) != record.sha256:
                    return f"{name} is not what was written: its SHA-256 differs"
            except FileNotFoundError:
                return f"{name} is missing"
            except OSError as error:
                return f"{name} cannot be read: {error.strerror}"
        return None


def unreadable(folder: Path) -> str:
    """Return why a folder has no manifest that can be read."""
    if (folder / MANIFEST).is_file():
        return f"{MANIFEST} cannot be read"
    return f"{MANIFEST} is missing: it was never completed"


def records(folder: Path) -> dict[str, FileRecord]:
    """Return what each file below the folder holds, by its path from there."""
    return {
        path.relative_to(folder).as_posix(): FileRecord(path.stat().st_size, _digest(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
