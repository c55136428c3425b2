"""Embeddings by the engine that serves."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence

import numpy as np

from tunesmith_runtime.serve.watching.divergence import Matrix

_AT_ONCE = 16
_SECONDS = 120
_SHOWN = 200


class NotEmbeddedError(Exception):
    """Texts could not be embedded; the message says why."""


def embedded(texts: Sequence[str], engine: str, model: str) -> Matrix:
    """Return a vector of length 1 for each text. Raises NotEmbeddedError."""
    vectors: list[list[float]] = []
    for start in range(0, len(texts), _AT_ONCE):
        body = json.dumps({"model": model, "input": list(texts[start : start + _AT_ONCE])}).encode()
        address = f"{engine.rstrip('/')}/v1/embeddings"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310 - ours
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
                data = json.load(answer)["data"]
            vectors += [each["embedding"] for each in sorted(data, key=lambda each: each["index"])]
        except (OSError, ValueError, KeyError, TypeError) as error:
            said = error.read().decode("utf-8", "replace") if isinstance(error, urllib.error.HTTPError) else ""
            raise NotEmbeddedError(
                f"the engine gives no embeddings, which method mmd needs: {error} {said}"[:_SHOWN] + "; psi needs none"
            ) from error
    found: Matrix = np.asarray(vectors, dtype=np.float64)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))
