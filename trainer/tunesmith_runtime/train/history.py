"""The course of a run: a line of JSON for each report, from which its page is drawn."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import time
from typing import Any

from tunesmith_runtime import storage
from tunesmith_runtime.storage.scratch import scratch, short_hash

HISTORY = "history.jsonl"
# Reports come at least this many seconds apart, and ever more rarely: a run of a month leaves some 15,000 lines.
INTERVAL_SECONDS = 1.0
THINNING = 2000

Row = dict[str, Any]
# A row with this field holds the metrics of a checkpoint, by SUITE/METRIC, and may come later than others of its step.
MEASURED = "measured"
# A row's field for what the method itself measures, by the names that it logs it under: rewards, divergences.
METHOD = "method"
# What the Trainer logs and a row says under other names, or better.
_TOLD = {"step", "loss", "grad_norm", "learning_rate", "epoch", "num_tokens"}
# What the Trainer calls the numbers that a checkpoint brings back.
_LOGGED = {"loss": "loss", "learning_rate": "learningRate", "grad_norm": "gradNorm"}


def history_file(checkpoints: str) -> Path:
    """Return where the worker that reports keeps the history of the run whose checkpoints are at a URI.

    It lies beside the checkpoints, or on this machine when those are in a bucket.
    """
    if storage.in_bucket(checkpoints):
        return scratch() / f"{short_hash(checkpoints)}-{HISTORY}"
    return storage.local_path(checkpoints) / HISTORY


class History:
    """The lines of one run. A run that goes on from a checkpoint forgets what came after it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time) -> None:
        self._path = path
        self._clock = clock
        self._began = clock()
        self._last = float("-inf")

    def begin(self, step: int, logged: Iterable[Mapping[str, Any]] = ()) -> None:
        """Keep the lines up to a step; without a file, as on another machine, make them of what the Trainer logged."""
        kept = [row for row in read(self._path) if row["step"] <= step] or [*_from_log(logged, step)]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(map(_line, kept)), encoding="utf-8")
        self._began = self._clock()

    def append(self, row: Mapping[str, Any], *, always: bool = False) -> None:
        """Add a report, unless the last one was just now."""
        now = self._clock()
        pause = max(INTERVAL_SECONDS, (now - self._began) / THINNING)
        if not always and now - self._last < pause:
            return
        self._last = now
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line({"time": round(now, 3), **row}))


def read(path: Path) -> list[Row]:
    """Return the lines of a history, none without a file; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    rows: list[Row] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def of_method(logged: Mapping[str, Any]) -> dict[str, float]:
    """Return what the method itself measures of all that the Trainer logged."""
    return {
        name: round(value, 6)
        for name, value in logged.items()
        if _is_number(value) and name not in _TOLD and not name.startswith(("eval_", "train_"))
    }


def _from_log(logged: Iterable[Mapping[str, Any]], last: int) -> Iterable[Row]:
    rows: dict[int, Row] = {}
    measured: list[Row] = []
    for entry in logged:
        step = int(entry.get("step", 0))
        if isinstance(entry.get(MEASURED), dict) and step <= last:
            measured.append({"step": step, MEASURED: entry[MEASURED]})
        found: Row = {ours: entry[theirs] for theirs, ours in _LOGGED.items() if _is_number(entry.get(theirs))}
        if _is_number(entry.get("eval_loss")):
            found["evalLoss"] = entry["eval_loss"]
        if numbers := of_method(entry):
            found[METHOD] = numbers
        if found and step <= last:
            rows.setdefault(step, {"step": step}).update(found)
    return [*rows.values(), *measured]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":"), allow_nan=False) + "\n"
