"""What the parts of the safety suite have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tunesmith_api.data import DatasetSource, TextFormat
from tunesmith_runtime.data.records import Answerable
from tunesmith_runtime.data.streams import read_records
from tunesmith_runtime.evaluate.open_questions import put_to_chat
from tunesmith_runtime.evaluate.respondent import Progress, Respondent
from tunesmith_runtime.evaluate.samples import AnswerSample
from tunesmith_runtime.evaluate.statistics import Summands


@dataclass(frozen=True)
class PartResult:
    """What a part's metrics are computed from, by bare name, its samples, and sentences for the report."""

    summands: Mapping[str, Summands]
    samples: tuple[AnswerSample, ...]
    notes: tuple[str, ...] = ()


class Part(Protocol):
    """A part with what it asks; `records` has each thing as often as progress counts it."""

    @property
    def records(self) -> Sequence[Any]:
        """Return what is gone through."""

    @property
    def empty(self) -> int:
        """Return how many records were left out for an empty answer or text."""

    def run(self, respondent: Respondent, progress: Progress) -> PartResult:
        """Measure a respondent. Raises RunError."""


@dataclass(frozen=True)
class Prompts:
    """Prompts of a file, and how many of its records were left out for an empty answer or text."""

    records: tuple[Answerable, ...] = ()
    empty: int = 0


def read_prompts(uri: str | None, fmt: TextFormat) -> Prompts:
    """Return the prompts of a file, texts as turns of a chat; none without a file. Raises DataError."""
    if uri is None:
        return Prompts()
    parsed = read_records(DatasetSource(uri=uri, format=fmt))
    return Prompts(tuple(put_to_chat(record) for record in parsed.records), parsed.empty)
