"""Checkpoints in a bucket: written to this machine, then uploaded, the manifest last."""

import shutil
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tunesmith_api.contract import SkippedCheckpoint
from tunesmith_api.uris import join
from tunesmith_runtime.errors import NotWritableError
from tunesmith_runtime.storage import objects
from tunesmith_runtime.storage.scratch import locked, scratch, short_hash
from tunesmith_runtime.train import group
from tunesmith_runtime.train.checkpoints import NAME, STAGING, Checkpoint, check_data, tell_skipped
from tunesmith_runtime.train.manifests import MANIFEST, FileRecord, Manifest, records, unreadable


@dataclass(frozen=True)
class BucketStore:
    """Checkpoints below a URI of S3. Workers of one machine share a staging folder."""

    uri: str
    damaged: dict[int, str] = field(default_factory=dict, compare=False, repr=False)
    own_staging: ClassVar[bool] = True

    @property
    def staging(self) -> Path:
        """The folder of this machine that its workers write to first."""
        return self._scratch() / STAGING

    def prepare(self) -> None:
        """Empty the staging folder."""
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True, exist_ok=True)

    def complete(
        self, step: int, fingerprint: str, keep: int, spared: Set[int] = frozenset(), *, here: bool = False
    ) -> None:
        """Upload the staged checkpoint, each file by the first worker that has it, and then the manifest."""
        staged = self.staging / f"checkpoint-{step}"
        found = records(staged)
        if (
            group.is_first()
        ):  # what is there under this name was found to be damaged, or it would have been resumed from
            objects.delete(self._object(step, MANIFEST), NotWritableError)
        owners = _owners(group.gather(found))
        for name in sorted(found):
            if owners[name][0] == group.rank():
                objects.put(staged / name, self._object(step, name), NotWritableError)
        if here and group.is_first():  # it has uploaded all that is on its machine, and the others there nothing
            self._keep_copy(staged, step)
        group.wait_for_all()
        if group.is_first():
            manifest = Manifest(step, fingerprint, {name: record for name, (_, record) in sorted(owners.items())})
            objects.put_text(manifest.text(), self._object(step, MANIFEST), NotWritableError)
            self.damaged.pop(step, None)
            self._delete_old(keep, spared)
        shutil.rmtree(staged, ignore_errors=True)

    def latest(self, fingerprint: str) -> Checkpoint | None:
        """Download the newest checkpoint that is complete and undamaged; return None when there is none.

        Each machine downloads; when one cannot have it whole, all go on from the one that every machine has.
        """
        found = self._latest(fingerprint)
        step = min(group.gather(found.step if found else -1))
        if found is None or found.step == step:
            return found
        return self.fetch(step) if step >= 0 else None

    def skipped(self) -> tuple[SkippedCheckpoint, ...]:
        """Return those that `latest` has passed over."""
        return tell_skipped(self.uri, self.damaged)

    def _latest(self, fingerprint: str) -> Checkpoint | None:
        for step, files in sorted(self._listed().items(), reverse=True):
            manifest = self._fetched(step, files)
            if isinstance(manifest, Manifest):
                check_data(manifest, fingerprint, join(self.uri, f"checkpoint-{step}"))
                return Checkpoint(self.folder_of(step), step)
            self.damaged[step] = manifest
        return None

    def folder_of(self, step: int) -> Path:
        """Return this machine's copy."""
        return self._scratch() / f"checkpoint-{step}"

    def has(self, step: int) -> bool:
        """Return whether the checkpoint has a manifest."""
        return MANIFEST in self._listed().get(step, {})

    def fetch(self, step: int) -> Checkpoint | None:
        """Download the checkpoint of `step`, unless it is here; return None when it is not complete or damaged."""
        manifest = self._fetched(step, self._listed().get(step, {}))
        return Checkpoint(self.folder_of(step), step) if isinstance(manifest, Manifest) else None

    def _fetched(self, step: int, files: Mapping[str, objects.Stored]) -> Manifest | str:
        if MANIFEST not in files:
            return f"{MANIFEST} is missing: it was never completed"
        with locked(self.folder_of(step)):
            return self._downloaded(step, files, self.folder_of(step))

    def clear(self) -> None:
        """Delete this machine's copies."""
        shutil.rmtree(self._scratch(), ignore_errors=True)

    def _downloaded(self, step: int, files: Mapping[str, objects.Stored], folder: Path) -> Manifest | str:
        """Bring `folder` to what the manifest says; return the manifest, or what is wrong with what is there."""
        folder.mkdir(exist_ok=True)
        if not objects.get_if_there(self._object(step, MANIFEST), folder / MANIFEST, NotWritableError):
            return unreadable(folder)
        manifest = Manifest.read(folder)
        if manifest is None:
            return unreadable(folder)
        if manifest.damage(folder) is None:
            return manifest
        for name, record in manifest.files.items():
            if name not in files:
                return f"{name} is missing"
            if files[name].size != record.size:
                return f"{name} has {files[name].size} bytes, and {record.size} were written"
        wanted = {folder / name: self._object(step, name) for name in manifest.files}
        objects.get_all(join(self.uri, f"checkpoint-{step}"), wanted, NotWritableError)
        return manifest.damage(folder) or manifest

    def _keep_copy(self, staged: Path, step: int) -> None:
        """Keep this machine's copy of a checkpoint in the place of those before."""
        for old in self._scratch().glob("checkpoint-*"):
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
        staged.rename(self.folder_of(step))

    def _delete_old(self, keep: int, spared: Set[int]) -> None:
        """Delete all but the newest complete checkpoints and those spared; what is damaged, or older and torn, goes."""
        listed = {step: files for step, files in self._listed().items() if step not in spared}
        kept = sorted(step for step, files in listed.items() if MANIFEST in files and step not in self.damaged)[-keep:]
        for step in listed.keys() - set(kept):
            if step not in self.damaged and not (kept and step < kept[-1]):
                continue
            for name in sorted(listed[step], key=lambda name: name != MANIFEST):  # the manifest first
                objects.delete(self._object(step, name), NotWritableError)
        self.damaged.clear()

    def _listed(self) -> dict[int, dict[str, objects.Stored]]:
        """Return the objects of each checkpoint, complete or not, by step."""
        found: dict[int, dict[str, objects.Stored]] = defaultdict(dict)
        for path, stored in objects.listing(self.uri, NotWritableError).items():
            folder, _, name = path.partition("/")
            if name and (match := NAME.match(folder)):
                found[int(match[1])][name] = stored
        return found

    def _object(self, step: int, name: str) -> str:
        return join(self.uri, f"checkpoint-{step}", name)

    def _scratch(self) -> Path:
        return scratch("checkpoints", short_hash(objects.endpoint(), self.uri.rstrip("/")))


def _owners(found: list[dict[str, FileRecord]]) -> dict[str, tuple[int, FileRecord]]:
    """Return for each file the first worker that has it, and what it holds there."""
    owners: dict[str, tuple[int, FileRecord]] = {}
    for worker, files in enumerate(found):
        for name, record in files.items():
            owners.setdefault(name, (worker, record))
    return owners
