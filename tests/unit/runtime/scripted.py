"""A respondent that says what a test tells it to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tunesmith_runtime.data.records import Answerable
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress


@dataclass
class Scripted:
    """Gives these answers in their order, and keeps what it was asked."""

    answers: Sequence[str]
    known: Answers = field(default_factory=lambda: Answers("this"))
    asked: list[Answerable] = field(default_factory=list)

    def answer(self, records: Sequence[Answerable], generation: Generation, progress: Progress) -> list[str]:
        self.asked += records
        progress(len(records))
        return list(self.answers)
