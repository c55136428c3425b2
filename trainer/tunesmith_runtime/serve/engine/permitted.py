"""Where adapters may be loaded from while the server runs: what its run names, and what lies on its volumes."""

import os
from pathlib import Path

from tunesmith_api.contract import VOLUMES_VARIABLE, ServeRun
from tunesmith_runtime import storage
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.models.adapted import adapter_folder, adapter_in


def permitted_folder(path: str, config: ServeRun) -> Path:
    """Return the folder of the adapter that a path or URI names. Raises ConfigError and ModelError."""
    if any(path == adapter.uri for adapter in config.adapters):
        return adapter_folder(path)
    found = storage.local_path(path) if path.startswith("pvc://") else Path(path)
    # Where links lead counts, not where they lie.
    real = found.resolve()
    if not found.is_absolute() or not any(map(real.is_relative_to, _volumes())):
        raise ConfigError(
            f"{path} is no place to load adapters from: name one on a volume of the server (pvc://CLAIM/PATH), or one "
            "that the ModelServe names"
        )
    return adapter_in(real, path)


def _volumes() -> list[Path]:
    """Return where the claims are; each may be a link."""
    root = os.environ.get(VOLUMES_VARIABLE)
    return [each.resolve() for each in Path(root).iterdir() if each.is_dir()] if root and Path(root).is_dir() else []
