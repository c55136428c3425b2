"""The trials of a search as the rows of the page's table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith_api.gates import number


@dataclass(frozen=True)
class Trials:
    """The table: `names` are the parameters, `best` is the number of the best trial."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: str


def trials(tuning: Mapping[str, Any] | None) -> Trials | None:
    """Return the table of what a lineage holds as its tuning; None when it has no trials."""
    found = (tuning or {}).get("trials") or ()
    if not found:
        return None
    names = tuple(dict.fromkeys(name for trial in found for name in trial.get("parameters", {})))
    rows = tuple(
        (
            str(trial["number"]),
            *(trial.get("parameters", {}).get(name, "") for name in names),
            trial.get("state", ""),
            str(trial.get("steps", "")),
            f"{number(trial['value'])} at step {trial.get('step')}" if "value" in trial else trial.get("message", ""),
        )
        for trial in found
    )
    return Trials(names, rows, str((tuning or {}).get("best", "")))
