"""Models of hf:// and s3:// that are kept in a folder which several pods share."""

from pathlib import Path

from tunesmith_runtime import storage


def kept_model(uri: str, digest: str | None) -> Path:
    """Return the folder of a model."""
    return storage.model_path(uri)
