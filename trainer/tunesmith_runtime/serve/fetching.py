"""Before a server starts: its model and adapters are fetched, and found by links under names that never change."""

import os
from pathlib import Path

from tunesmith_api.contract import MODEL_LINKS_VARIABLE, RunConfig, ServeRun
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.models.adapted import adapter_folder
from tunesmith_runtime.models.kept import kept_model
from tunesmith_runtime.progress import ProgressReporter


def fetch(config: RunConfig, reporter: ProgressReporter) -> None:
    """Have what a serving run serves on this machine; link to it from $TUNESMITH_MODEL_LINKS, if that is set.

    Raises ModelError as loading would.
    """
    if not isinstance(config, ServeRun):
        raise ConfigError(f"a run of type {config.type} fetches its models itself; fetch is for servers")
    reporter.update(state="Starting", stage="fetching the model")
    folders = {"model": kept_model(config.model, config.digest)}
    for adapter in config.adapters:
        folders[f"adapters/{adapter.name}"] = adapter_folder(adapter.uri)
    if root := os.environ.get(MODEL_LINKS_VARIABLE):
        for name, folder in folders.items():
            _link(Path(root, name), folder.resolve())


def _link(link: Path, folder: Path) -> None:
    """Make a link, in the place of one that an earlier start of the pod has made."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(folder)
