"""Opinions become what a method learns from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tunesmith_api.data import DatasetSource
from tunesmith_api.training import MethodType
from tunesmith_runtime.data.feedback.fixing import fixed_files
from tunesmith_runtime.data.feedback.joining import joined
from tunesmith_runtime.data.reading import rows_of_files
from tunesmith_runtime.data.records import Opinion, Preference, Rated, Record
from tunesmith_runtime.data.streams import RecordStream, check_columns, open_records
from tunesmith_runtime.errors import DataError


def answer_to_give(opinion: Opinion) -> Record | None:
    """Return the correction, else an answer that was liked."""
    return opinion.corrected or (opinion.answer if opinion.rating > 0 else None)


def better_and_worse(opinion: Opinion) -> Record | None:
    """Return the correction against the answer."""
    if opinion.corrected is None or opinion.answer is None or opinion.corrected == opinion.answer:
        return None
    return Preference(opinion.corrected, opinion.answer)


def wanted_or_not(opinion: Opinion) -> Record | None:
    """Return the answer with whether it was liked."""
    return Rated(opinion.answer, opinion.rating > 0) if opinion.answer and opinion.rating else None


@dataclass(frozen=True)
class _Lesson:
    """How a method learns from an opinion, and what is missing where it cannot."""

    learn: Callable[[Opinion], Record | None]
    missing: str


_PREFERENCES = _Lesson(better_and_worse, "a correction that differs from the answer")
LESSONS: dict[MethodType, _Lesson] = {
    "sft": _Lesson(answer_to_give, "a correction or a rating above 0"),
    "rm": _PREFERENCES,
    "dpo": _PREFERENCES,
    "orpo": _PREFERENCES,
    "kto": _Lesson(wanted_or_not, "a rating above or below 0"),
}


@dataclass(frozen=True)
class Feedback:
    """What a run learns from feedback by, and where it keeps which files it has read: beside its checkpoints."""

    method: MethodType = "sft"
    checkpoints: str | None = None

    def records(self, source: DatasetSource, name: str) -> "LearntRecords":
        """Return the records of a dataset of feedback: captured files, or files in format feedback.

        Raises DataError when there are none, or when files of the first attempt are gone.
        """
        if source.uri.startswith("hf://"):
            return LearntRecords(open_records(source), self.method)
        check_columns(source)
        files = fixed_files(source.uri, name, self.checkpoints)
        rows = joined(source.uri, files) or rows_of_files(source.uri, files)
        return LearntRecords(RecordStream(rows, source.format, source.columns), self.method)


class LearntRecords:
    """What a method learns from the opinions of a dataset; those that say nothing to it are passed over."""

    def __init__(self, opinions: RecordStream, method: MethodType) -> None:
        self._opinions = opinions
        self._method = method
        self._silent = 0

    @property
    def digest(self) -> str:
        """SHA-256 of what they were read from."""
        return self._opinions.digest

    @property
    def empty(self) -> int:
        """How many were passed over."""
        return self._opinions.empty + self._silent

    def __iter__(self) -> Iterator[Record]:
        """Yield the records. Raises DataError as RecordStream does, and when no opinion says anything to the method."""
        lesson, silent, found = LESSONS[self._method], 0, False
        for opinion in self._opinions:
            assert isinstance(opinion, Opinion)  # noqa: S101 - what the format gives
            record = lesson.learn(opinion)
            if record is None:
                silent += 1
                continue
            found = True
            yield record
        if not found:
            raise DataError(
                f"{self._opinions.uri}: none of {silent} answers with feedback has {lesson.missing}, which is what "
                f"method {self._method} learns from"
            )
        self._silent = silent
