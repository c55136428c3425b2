"""The state directory: resources and runs of the local shell, and the lock that lets one shell at a time change them.

lock                                          pid of the shell that holds it
resources/KIND/NAMESPACE/NAME.json            metadata, spec and status
told/NAMESPACE/NAME.json                      what people have told rollouts of a ModelServe
runs/NAMESPACE/WORKLOAD/                      what `processes` keeps of a workload
volumes/CLAIM                                 a folder, or a link to the folder given with --volume
"""

import fcntl
import json
import os
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import ValidationError

from tunesmith_api.base import Kind
from tunesmith_api.errors import explain
from tunesmith_api.immutability import changed_fields
from tunesmith_api.resources import KINDS, SHORT_NAMES, ModelServe, Resource
from tunesmith_api.salvage import read
from tunesmith_operator.local import files

DEFAULT_FOLDER = ".tunesmith"

# struct flock of Linux: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = "hhqqi4x"

Applied = Literal["created", "configured", "unchanged"]


class StateError(Exception):
    """The state directory cannot be used or changed as asked; the message is made of sentences."""


@dataclass(frozen=True)
class State:
    """A state directory."""

    folder: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock. Raises StateError, naming the holder, when another process holds it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / "lock").open("a+", encoding="ascii")
        except OSError as error:
            raise StateError(f"{self.folder}: cannot be used as state directory: {error.strerror}") from error
        with file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StateError(
                    f"another tunesmith (pid {self.holder()}) uses {self.folder}; wait for it or pass --state"
                ) from error
            yield

    def holder(self) -> int | None:
        """Return the pid of the process that holds the lock, or None. Looking does not disturb anybody.

        Only for processes that do not hold it: closing the file gives a lock of one's own back.
        """
        query = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            with (self.folder / "lock").open("rb+") as file:
                kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, query))
        except OSError:
            return None
        return None if kind == fcntl.F_UNLCK else int(pid)

    def resources(self) -> tuple[Resource, ...]:
        """Return all resources by kind, namespace and name. Raises StateError for a file that is not one."""
        folder = self.folder / "resources"
        paths = [path for kind in KINDS for path in sorted((folder / kind.lower()).glob("*/[!.]*.json"))]
        return tuple(self._read(path) for path in paths)

    def find(self, kind: Kind, namespace: str, name: str) -> Resource | None:
        """Return a resource, or None. Raises StateError as `resources` does."""
        path = self.resource_file(kind, namespace, name)
        return self._read(path) if path.is_file() else None

    def _read(self, path: Path) -> Resource:
        try:
            return read(json.loads(path.read_bytes()))[0]
        except ValidationError as error:
            problem = "; ".join(explain(error))
        except (OSError, ValueError) as error:
            problem = str(error)
        kind = next(kind for kind in KINDS if kind.lower() == path.parts[-3])
        raise StateError(f"{path} does not hold a {kind} ({problem}); delete that file, then run again")

    def told(self, serve: ModelServe) -> ModelServe:
        """Return a ModelServe with what people have told its rollouts, in its annotations."""
        path = self._told_file(serve)
        try:
            told = json.loads(path.read_bytes()) if path.is_file() else {}
        except (OSError, ValueError):
            told = {}
        if not isinstance(told, dict) or not told:
            return serve
        meta = serve.metadata
        annotations = {**meta.annotations, **{str(name): str(value) for name, value in told.items()}}
        return serve.model_copy(update={"metadata": meta.model_copy(update={"annotations": annotations})})

    def tell(self, serve: ModelServe, annotations: Mapping[str, str | None]) -> None:
        """Remember what people tell rollouts of a ModelServe; None takes an annotation away."""
        before = self.told(serve.model_copy(update={"metadata": serve.metadata.model_copy(update={"annotations": {}})}))
        kept = {**before.metadata.annotations, **annotations}
        told = {name: value for name, value in kept.items() if value is not None}
        files.write(self._told_file(serve), json.dumps(told, indent=1))

    def last_told(self) -> int:
        """Return a number that is another one when anybody has told anything since."""
        times = [path.stat().st_mtime_ns for path in (self.folder / "told").glob("*/[!.]*.json")]
        return max(times, default=0)

    def _told_file(self, serve: ModelServe) -> Path:
        return self.folder / "told" / serve.metadata.namespace / f"{serve.metadata.name}.json"

    def write(self, resource: Resource) -> None:
        """Put a resource in the place of the one with its kind, namespace and name."""
        meta = resource.metadata
        files.write(
            self.resource_file(resource.kind, meta.namespace, meta.name), json.dumps(resource.to_json(), indent=1)
        )

    def apply(self, wanted: Sequence[Resource], now: datetime) -> tuple[Applied, ...]:
        """Take over manifests, all or none, and say what became of each.

        A changed spec is a new generation; the status stays. Raises StateError when a field would change that may
        not change any more.
        """
        merged = [self._merged(resource, now) for resource in wanted]
        problems = [sentence for _, _, sentences in merged for sentence in sentences]
        if problems:
            raise StateError("\n".join(problems))
        for resource, applied, _ in merged:
            if applied != "unchanged":
                self.write(resource)
        return tuple(applied for _, applied, _ in merged)

    def _merged(self, wanted: Resource, now: datetime) -> tuple[Resource, Applied, list[str]]:
        meta = wanted.metadata
        old = self.find(wanted.kind, meta.namespace, meta.name)
        if old is None:
            fresh = meta.model_copy(update={"uid": str(uuid4()), "generation": 1, "creation_timestamp": now})
            return wanted.model_copy(update={"metadata": fresh}), "created", []
        same_spec = old.spec == wanted.spec
        kept = old.metadata.model_copy(
            update={
                "labels": meta.labels,
                "annotations": meta.annotations,
                "generation": old.metadata.generation + (not same_spec),
            }
        )
        new = wanted.model_copy(update={"metadata": kept, "status": old.status})
        if same_spec and kept == old.metadata:
            return old, "unchanged", []
        sentences = [
            f"{wanted.kind} {meta.name}: {path} may not change once it has started; change it back, or run "
            f"`{_delete(wanted.kind, meta.name)}` and apply it again"
            for path in changed_fields(old, new)
        ]
        return new, "configured", sentences

    def remove(self, kind: Kind, namespace: str, name: str) -> bool:
        """Delete a resource's file; return whether there was one."""
        path = self.resource_file(kind, namespace, name)
        existed = path.is_file()
        path.unlink(missing_ok=True)
        if kind == "ModelServe":
            (self.folder / "told" / namespace / f"{name}.json").unlink(missing_ok=True)
        return existed

    def resource_file(self, kind: Kind, namespace: str, name: str) -> Path:
        """Return where a resource is kept."""
        return self.folder / "resources" / kind.lower() / namespace / f"{name}.json"

    def run_folder(self, namespace: str, workload: str) -> Path:
        """Return where a workload's files are kept."""
        return self.folder / "runs" / namespace / workload

    def run_folders(self) -> tuple[Path, ...]:
        """Return the folders of all workloads."""
        return tuple(sorted(path for path in (self.folder / "runs").glob("*/*") if path.is_dir()))

    @property
    def volumes(self) -> Path:
        """The folder below which claims are found."""
        return (self.folder / "volumes").absolute()

    def link_volume(self, claim: str, target: Path) -> None:
        """Let a claim be the folder `target` from now on. Raises StateError when that cannot be."""
        path = self.volumes / claim
        if not target.is_dir():
            raise StateError(f"--volume {claim}={target}: there is no such folder; make it first")
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            try:
                path.rmdir()
            except OSError as error:
                raise StateError(
                    f"--volume {claim}={target}: {path} is a folder with files already; move them, then run again"
                ) from error
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target.absolute(), target_is_directory=True)

    def ensure_claim(self, claim: str) -> None:
        """Make a claim's folder if need be. Raises StateError when it is a link to a folder that is gone."""
        path = self.volumes / claim
        if path.is_symlink() and not path.is_dir():
            raise StateError(f"volume {claim} is {path.readlink()}, which is gone; pass --volume {claim}=FOLDER")
        path.mkdir(parents=True, exist_ok=True)

    def remove_run(self, folder: Path) -> None:
        """Delete a workload's files."""
        shutil.rmtree(folder, ignore_errors=True)


def _delete(kind: Kind, name: str) -> str:
    return f"tunesmith delete {SHORT_NAMES[kind]}/{name}"
