"""Checkpoints: written aside, flushed, renamed; a manifest with digests says that one is complete."""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tunesmith_runtime import storage
from tunesmith_runtime.errors import DataError

MANIFEST = "tunesmith.json"
STAGING = ".staging"
_NAME = re.compile(r"^checkpoint-(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint of a folder of checkpoints."""

    path: Path
    step: int


def staging_folder(folder: Path) -> Path:
    """Return the empty folder, inside the folder of checkpoints, that checkpoints are written to first."""
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


def complete(folder: Path, step: int, fingerprint: str, keep: int) -> Checkpoint:
    """Make the staged checkpoint of `step` a complete one, and delete the oldest until `keep` are left.

    `fingerprint` names the data it was trained on. Raises OSError; what was complete before stays so.
    """
    staged = folder / STAGING / f"checkpoint-{step}"
    files = {
        str(file.relative_to(staged)): {"size": file.stat().st_size, "sha256": _digest(file)}
        for file in sorted(staged.rglob("*"))
        if file.is_file()
    }
    manifest = {"step": step, "fingerprint": fingerprint, "files": files}
    (staged / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    target = folder / staged.name
    storage.publish(staged, target)
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old.path, ignore_errors=True)
    return Checkpoint(target, step)


def latest(folder: Path, fingerprint: str) -> Checkpoint | None:
    """Return the complete, undamaged checkpoint with the most steps, or None.

    A checkpoint without a manifest, or with a file that differs from it, is passed over. Raises DataError when the
    checkpoint was trained on other data than `fingerprint` names.
    """
    for checkpoint in reversed(_all(folder)):
        manifest = _verified_manifest(checkpoint.path)
        if manifest is None:
            continue
        if manifest["fingerprint"] != fingerprint:
            raise DataError(
                f"{checkpoint.path} was trained on other data: a dataset has changed since. Put the old data back to "
                "go on, or delete the job and create it again to start afresh"
            )
        return checkpoint
    return None


def _all(folder: Path) -> list[Checkpoint]:
    found = [(path, _NAME.match(path.name)) for path in folder.glob("checkpoint-*")]
    return sorted((Checkpoint(path, int(match[1])) for path, match in found if match), key=lambda each: each.step)


def _verified_manifest(path: Path) -> dict[str, str] | None:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name, expected in manifest["files"].items():
            file = path / name
            if file.stat().st_size != expected["size"] or _digest(file) != expected["sha256"]:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {"fingerprint": str(manifest.get("fingerprint"))}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
