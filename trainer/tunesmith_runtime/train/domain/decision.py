"""Which pairs of the domain are left out: decided once, and kept beside the checkpoints for every later attempt."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.errors import DataError, NotWritableError
from tunesmith_runtime.storage import objects
from tunesmith_runtime.storage.scratch import scratch, short_hash
from tunesmith_runtime.train.domain.counting import Kept

DECISION = "decision.json"
# The pairs that the first stage contradicts most, for people to read.
CONTRADICTED = "contradicted.jsonl"


@dataclass(frozen=True)
class Decision:
    """What the model of the first stage, after `step` optimizer steps, made of the domain.

    Pairs whose margin is below `bound` are left out: the rows `contradicted`, by number. `kept` says what is kept of
    each dataset. `fingerprint` names the data that it speaks of.
    """

    fingerprint: str
    step: int
    level: float
    bound: float
    contradicted: tuple[int, ...]
    kept: Mapping[str, Kept]

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps({**asdict(self), "kept": {name: asdict(each) for name, each in self.kept.items()}})


def read(uri: str, fingerprint: str) -> Decision | None:
    """Return the decision in the folder `uri`, None when there is none yet.

    Raises DataError when it speaks of other data than `fingerprint` names.
    """
    text = _text(join(uri, DECISION))
    if text is None:
        return None
    try:
        value: dict[str, Any] = json.loads(text)
        decision = Decision(
            **{
                **value,
                "contradicted": tuple(value["contradicted"]),
                "kept": {name: Kept(**each) for name, each in value["kept"].items()},
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{join(uri, DECISION)} is damaged; delete it, and the pairs of the domain are judged again"
        ) from error
    if decision.fingerprint != fingerprint:
        raise DataError(
            f"{join(uri, DECISION)} speaks of other data: a dataset has changed since. Put the old data back to go on, "
            "or delete the job and create it again to start afresh"
        )
    return decision


def write(uri: str, decision: Decision, examples: str) -> None:
    """Put a decision into the folder `uri`, and before it the lines of examples for people."""
    _put(uri, CONTRADICTED, examples)
    _put(uri, DECISION, decision.text())


def _text(uri: str) -> str | None:
    if not storage.in_bucket(uri):
        path = storage.local_path(uri)
        return path.read_text(encoding="utf-8") if path.is_file() else None
    # Each process its own copy: several of one machine may read at the same time.
    copy = scratch() / f"{short_hash(objects.endpoint(), uri, str(os.getpid()))}-{DECISION}"
    try:
        return copy.read_text(encoding="utf-8") if objects.get_if_there(uri, copy, NotWritableError) else None
    finally:
        copy.unlink(missing_ok=True)


def _put(uri: str, name: str, text: str) -> None:
    if storage.in_bucket(uri):
        objects.put_text(text, join(uri, name), NotWritableError)
        return
    folder = storage.local_path(uri)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.partial"
    partial.write_text(text, encoding="utf-8")
    Path(partial).replace(folder / name)
