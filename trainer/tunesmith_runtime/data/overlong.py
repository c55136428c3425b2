"""What happens to a record with more tokens than `maxLength`: it is left out, cut off, or cut into several."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tunesmith_api.data import TrainingData
from tunesmith_runtime.data.tokenizing import IGNORED
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.recipes.recipe import Recipe, Row

Policy = Literal["drop", "truncate", "split"]


def check_overlong(data: TrainingData, recipe: Recipe) -> None:
    """Raise ConfigError when records are to be cut and those of the recipe cannot be cut anywhere."""
    if data.overlong in ("truncate", "split") and not recipe.is_plain:
        raise ConfigError(
            f"data.overlong: {data.overlong} cuts records at any token, which is for method sft or pt of task "
            f"causal-lm, and this is method {recipe.method} of task {recipe.task}; set it to drop"
        )


def policy_of(data: TrainingData, recipe: Recipe) -> Policy:
    """Return the spec's choice; by default texts of pre-training are split and others left out."""
    return data.overlong or ("split" if recipe.method == "pt" and recipe.is_plain else "drop")


@dataclass
class Overlong:
    """Makes rows fit, and counts the records that it had to do something about.

    `unlabelled` counts the rows that were left out after a cut because loss counts none of their tokens, `shortest`
    is the length of the shortest row that was dropped.
    """

    max_length: int
    policy: Policy
    length: Callable[[Row], int]
    dropped: int = 0
    truncated: int = 0
    split: int = 0
    unlabelled: int = 0
    shortest: int | None = None

    def fitting(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows of one record, each of at most `max_length` tokens; parts of one row follow each other."""
        dropped = cut = False
        for row in rows:
            length = self.length(row)
            if length <= self.max_length:
                yield row
            elif self.policy == "drop":
                dropped = True
                self.shortest = min(length, self.shortest or length)
            else:
                for part in self._parts(row, length):
                    cut = True
                    yield part
        self.dropped += dropped
        if cut and self.policy == "truncate":
            self.truncated += 1
        elif cut:
            self.split += 1

    def _parts(self, row: Row, length: int) -> Iterator[Row]:
        starts = range(0, length if self.policy == "split" else 1, self.max_length)
        for start in starts:
            part = {name: values[start : start + self.max_length] for name, values in row.items()}
            if _teaches(part["labels"]):
                yield part
            else:
                self.unlabelled += 1


def _teaches(labels: list[Any]) -> bool:
    """Tell whether loss counts a token: it never does the first one of a row, which nothing is before."""
    return any(label != IGNORED for label in labels[1:])
