"""Checkpoints: written aside, then put in their place; a manifest with digests says that one is complete."""

import re
import shutil
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from tunesmith_api.contract import SkippedCheckpoint
from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.storage import folders
from tunesmith_runtime.train import group
from tunesmith_runtime.train.leading import Leader
from tunesmith_runtime.train.manifests import MANIFEST, Manifest, records, unreadable

STAGING = ".staging"
NAME = re.compile(r"^checkpoint-(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: a folder of this machine."""

    path: Path
    step: int


class CheckpointStore(Protocol):
    """Where a run keeps its checkpoints. Every worker of the run has one and calls its methods."""

    # Whether `staging` is another folder on each machine, so that each has to write there what is common to all.
    own_staging: ClassVar[bool]

    @property
    def uri(self) -> str:
        """What users call it."""

    @property
    def staging(self) -> Path:
        """The folder that workers write checkpoints to first."""

    def prepare(self) -> None:
        """Empty the staging folder."""

    def complete(
        self, step: int, fingerprint: str, keep: int, spared: Set[int] = frozenset(), *, here: bool = False
    ) -> None:
        """Make the staged checkpoint of `step` a complete one, and delete the oldest until `keep` are left.

        It is called by every worker, once all of them have written their parts. `fingerprint` names the data it was
        trained on. Those of the steps in `spared` stay, and `keep` counts the others; those that `latest` has passed
        over do not count, and go now that another one is there. `here` says that `folder_of` the step is needed until
        the next one is complete. Raises OSError or RunError; what was complete before stays so.
        """

    def folder_of(self, step: int) -> Path:
        """Return the folder of the checkpoint of `step` on this machine, where `complete` or `fetch` has left one."""

    def has(self, step: int) -> bool:
        """Return whether the checkpoint of `step` is complete; what its files hold is not looked at."""

    def fetch(self, step: int) -> Checkpoint | None:
        """Return the complete, undamaged checkpoint of `step`, or None."""

    def latest(self, fingerprint: str) -> Checkpoint | None:
        """Return the complete, undamaged checkpoint with the most steps, the same to every worker, or None.

        A checkpoint without a manifest, or with a file that differs from it, is passed over. Raises DataError when the
        checkpoint was trained on other data than `fingerprint` names.
        """

    def skipped(self) -> tuple[SkippedCheckpoint, ...]:
        """Return those that `latest` has passed over, oldest first, as far as this worker knows."""

    def clear(self) -> None:
        """Delete what only a running training needs."""


def store(uri: str) -> CheckpointStore:
    """Return the store at a URI."""
    if storage.in_bucket(uri):
        from tunesmith_runtime.train.bucket_checkpoints import BucketStore

        return BucketStore(uri)
    return FolderStore(uri, storage.local_path(uri))


@dataclass(frozen=True)
class FolderStore:
    """Checkpoints in a folder that all workers see, put in place by rename."""

    uri: str
    folder: Path
    damaged: dict[int, str] = field(default_factory=dict, compare=False, repr=False)
    own_staging: ClassVar[bool] = False

    @property
    def staging(self) -> Path:
        """The folder, inside the folder of checkpoints, that workers write to first."""
        return self.folder / STAGING

    def prepare(self) -> None:
        """Empty the staging folder, and delete what an end in the middle of a rename has left."""
        if group.is_first():
            for left in (self.staging, *self.folder.glob(".checkpoint-*.replaced-*")):
                shutil.rmtree(left, ignore_errors=True)
            self.staging.mkdir(parents=True, exist_ok=True)

    def complete(
        self, step: int, fingerprint: str, keep: int, spared: Set[int] = frozenset(), *, here: bool = False
    ) -> None:
        """Rename the staged checkpoint into place and delete the oldest until `keep` are left."""
        if not group.is_first():
            return
        staged = self.staging / f"checkpoint-{step}"
        manifest = Manifest(step, fingerprint, records(staged))
        (staged / MANIFEST).write_text(manifest.text(), encoding="utf-8")
        folders.publish(staged, self.folder / staged.name)
        self.damaged.pop(step, None)
        self._delete_old(keep, spared)

    def folder_of(self, step: int) -> Path:
        """Return the folder of a checkpoint."""
        return self.folder / f"checkpoint-{step}"

    def has(self, step: int) -> bool:
        """Return whether the checkpoint has a manifest."""
        return Manifest.read(self.folder_of(step)) is not None

    def fetch(self, step: int) -> Checkpoint | None:
        """Return the complete, undamaged checkpoint of `step`, or None."""
        folder = self.folder_of(step)
        manifest = Manifest.read(folder)
        return Checkpoint(folder, step) if manifest and manifest.damage(folder) is None else None

    def latest(self, fingerprint: str) -> Checkpoint | None:
        """Return the complete, undamaged checkpoint with the most steps, or None; the first worker looks for all."""
        return Leader[Checkpoint | None]().find(lambda: self._latest(fingerprint))

    def skipped(self) -> tuple[SkippedCheckpoint, ...]:
        """Return those that `latest` has passed over."""
        return tell_skipped(self.uri, self.damaged)

    def _latest(self, fingerprint: str) -> Checkpoint | None:
        for checkpoint in reversed(self._all()):
            manifest = Manifest.read(checkpoint.path)
            damage = manifest.damage(checkpoint.path) if manifest else unreadable(checkpoint.path)
            if manifest is not None and damage is None:
                check_data(manifest, fingerprint, str(checkpoint.path))
                return checkpoint
            self.damaged[checkpoint.step] = str(damage)
        return None

    def _delete_old(self, keep: int, spared: Set[int]) -> None:
        """Delete all but the newest complete checkpoints and those spared; what is damaged, or older and torn, goes."""
        found = [each for each in self._all() if each.step not in spared]
        kept = [each for each in found if each.step not in self.damaged and self.has(each.step)][-keep:]
        for old in found:
            if old not in kept and (old.step in self.damaged or (kept and old.step < kept[-1].step)):
                (old.path / MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(old.path, ignore_errors=True)
        self.damaged.clear()

    def clear(self) -> None:
        """Delete the staging folder."""
        if group.is_first():
            shutil.rmtree(self.staging, ignore_errors=True)

    def _all(self) -> list[Checkpoint]:
        found = [(path, NAME.match(path.name)) for path in self.folder.glob("checkpoint-*")]
        return sorted((Checkpoint(path, int(match[1])) for path, match in found if match), key=lambda each: each.step)


def tell_skipped(uri: str, damaged: Mapping[int, str]) -> tuple[SkippedCheckpoint, ...]:
    """Return what is said of damaged checkpoints below a URI, given what is wrong with them by their steps."""
    return tuple(
        SkippedCheckpoint(uri=join(uri, f"checkpoint-{step}"), message=message[:1024])
        for step, message in sorted(damaged.items())
    )


def check_data(manifest: Manifest, fingerprint: str, name: str) -> None:
    """Raise DataError when a checkpoint was trained on other data than `fingerprint` names."""
    if manifest.fingerprint != fingerprint:
        raise DataError(
            f"{name} was trained on other data: a dataset has changed since. Put the old data back to go on, or delete "
            "the job and create it again to start afresh"
        )
