"""What is kept of a workload: a folder with its config, its progress, its log, and records of its process."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import Field, ValidationError

from tunesmith_api.base import StatusModel
from tunesmith_api.contract import AdapterSet, ProgressDocument, RunConfig, run_config
from tunesmith_api.resources import Resource
from tunesmith_api.traffic import Routes
from tunesmith_operator.local import files, proc


class ProcessRecord(StatusModel):
    """The process of a workload; `start_time` is in clock ticks since boot, as in /proc/PID/stat."""

    pid: int = Field(ge=1)
    start_time: int
    started_at: datetime


class EndRecord(StatusModel):
    """How the process ended; `exit_code` is negative for a signal and None when nobody saw the end."""

    ended_at: datetime
    exit_code: int | None = None
    stopped: bool = False
    message: str = ""


@dataclass(frozen=True)
class Run:
    """The folder of a workload."""

    folder: Path

    @property
    def name(self) -> str:
        """The workload's name."""
        return self.folder.name

    @property
    def namespace(self) -> str:
        """The workload's namespace."""
        return self.folder.parent.name

    @property
    def config_file(self) -> Path:
        """The run config."""
        return self.folder / "config.json"

    @property
    def progress_file(self) -> Path:
        """The progress document."""
        return self.folder / "progress.json"

    @property
    def routes_file(self) -> Path:
        """The routes of a gateway."""
        return self.folder / "routes.json"

    @property
    def adapters_file(self) -> Path:
        """The adapters that a server should have."""
        return self.folder / "adapters.json"

    def tell(self, routes: Routes | None, adapters: AdapterSet | None) -> None:
        """Write what a server goes by as it runs, where it is something else than before."""
        for path, document in ((self.routes_file, routes), (self.adapters_file, adapters)):
            text = document.model_dump_json(by_alias=True, exclude_none=True, indent=1) if document else None
            try:
                same = path.read_text(encoding="utf-8") == text
            except OSError:
                same = False
            if text is not None and not same:
                self.folder.mkdir(parents=True, exist_ok=True)
                files.write(path, text)

    @property
    def log_file(self) -> Path:
        """What the process printed, over all its starts."""
        return self.folder / "log.txt"

    def config(self) -> RunConfig | None:
        """Return the run config, or None when there is none that can be read."""
        try:
            return run_config.validate_json(self.config_file.read_bytes())
        except (OSError, ValidationError):
            return None

    def progress(self) -> ProgressDocument | None:
        """Return what the run says of itself, or None when that is nothing, torn or garbage."""
        return files.read(self.progress_file, ProgressDocument)

    def process(self) -> ProcessRecord | None:
        """Return the process that was started last."""
        return files.read(self.folder / "process.json", ProcessRecord)

    def end(self) -> EndRecord | None:
        """Return how that process ended, or None when nobody has seen it end."""
        return files.read(self.folder / "exit.json", EndRecord)

    def is_alive(self) -> bool:
        """Return whether the process that was started last still runs."""
        process = self.process()
        return process is not None and proc.start_time(process.pid) == process.start_time

    def prepare(self, config: RunConfig) -> None:
        """Make the folder ready for a process: its config is written, what an earlier one left is gone but its log."""
        self.forget()
        files.write(self.config_file, json.dumps(config.to_json(), indent=1))

    def started(self, record: ProcessRecord) -> None:
        """Remember a process."""
        files.write(self.folder / "process.json", record.model_dump_json(by_alias=True))

    def ended(self, record: EndRecord) -> None:
        """Remember how the process ended."""
        files.write(self.folder / "exit.json", record.model_dump_json(by_alias=True))

    def forget(self) -> None:
        """Forget that a process ever ran; its log stays."""
        for name in ("process.json", "exit.json", "progress.json"):
            (self.folder / name).unlink(missing_ok=True)


def belongs_to(config: RunConfig, resource: Resource) -> bool:
    """Return whether a run is a resource's own; one that was deleted and created again is another."""
    meta, run = resource.metadata, config.run
    return (run.kind, run.namespace, run.name, run.uid) == (resource.kind, meta.namespace, meta.name, meta.uid)
