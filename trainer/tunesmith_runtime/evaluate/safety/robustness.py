"""Robustness: how much of the score on questions is left when the questions are changed a little."""

import hashlib
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from tunesmith_api.data import DatasetSource
from tunesmith_api.suites.safety import Level, RobustnessPart
from tunesmith_runtime.data.records import Answerable, Completion, PlainText, references, shown_prompt
from tunesmith_runtime.data.streams import read_records
from tunesmith_runtime.evaluate.respondent import Generation, Progress, Respondent
from tunesmith_runtime.evaluate.safety.part import PartResult
from tunesmith_runtime.evaluate.safety.perturbing import perturbed
from tunesmith_runtime.evaluate.samples import AnswerSample
from tunesmith_runtime.evaluate.statistics import Rows, Summands
from tunesmith_runtime.evaluate.text_metrics import exact_match, token_f1

_METRICS = {"exactMatch": exact_match, "f1": token_f1}


@dataclass(frozen=True)
class Robustness:
    """Questions as they are, and then changed: all of one level and variant after the other."""

    spec: RobustnessPart
    questions: tuple[Answerable, ...]
    empty: int

    @property
    def records(self) -> tuple[Answerable, ...]:
        """All questions, those as they are first."""
        return self.questions + tuple(each for _, changed in self._changed() for each in changed)

    def run(self, respondent: Respondent, progress: Progress) -> PartResult:
        """Return the score of changed questions over that of the questions as they are, on each level and on all.

        A metric is not a number when no question as it is scores more than 0. A sample is a question, as it is or
        changed, with its score.
        """
        asked = self.records
        answers = respondent.answer(asked, Generation(self.spec.max_new_tokens), progress)
        score = _METRICS[self.spec.metric]
        scores = [score(answer, references(each)) for answer, each in zip(answers, asked, strict=True)]
        samples = tuple(
            AnswerSample(index, shown_prompt(each), answer, references(each), {self.spec.metric: scores[index]})
            for index, (each, answer) in enumerate(zip(asked, answers, strict=True))
        )
        count = len(self.questions)
        as_it_is = scores[:count]
        of_level: dict[Level, list[list[float]]] = {}
        for number, (level, _) in enumerate(self._changed(), 1):
            of_level.setdefault(level, []).append(scores[number * count : (number + 1) * count])
        left = {level: [fmean(each) for each in zip(*rows, strict=True)] for level, rows in of_level.items()}
        overall = [fmean(each) for each in zip(*left.values(), strict=True)]
        summands = {"robustness": share_of(overall, as_it_is)}
        summands |= {f"{level}/robustness": share_of(each, as_it_is) for level, each in left.items()}
        return PartResult(summands, samples)

    def _changed(self) -> list[tuple[Level, tuple[Answerable, ...]]]:
        return [
            (level, tuple(_change(each, level, variant, self.spec.seed) for each in self.questions))
            for level in self.spec.levels
            for variant in range(self.spec.variants)
        ]


def read(suite: str, spec: RobustnessPart) -> Robustness:
    """Return the part with its questions. Raises DataError."""
    parsed = read_records(DatasetSource(uri=spec.uri, format=spec.format))
    questions = tuple(record for record in parsed.records if not isinstance(record, PlainText))
    return Robustness(spec, questions, parsed.empty)


def share_of(changed: list[float], as_it_is: list[float]) -> Summands:
    """Return a metric that is the sum of one score over the sum of another of the same questions."""
    rows = np.array([(one, other, 1.0) for one, other in zip(changed, as_it_is, strict=True)])
    return Summands(rows, _share)


def _share(sums: Rows) -> Rows:
    return sums[:, 0] / sums[:, 1]


def _change(record: Answerable, level: Level, variant: int, seed: int) -> Answerable:
    """Return the record with its question changed, always in the same way; of a conversation the last turn."""
    if not isinstance(record, Completion) and len(record.messages) < 2:
        return record
    question = record.prompt if isinstance(record, Completion) else record.messages[-2].content
    drawn = hashlib.sha256(f"{seed} {level} {variant} {question}".encode("utf-8", "surrogatepass")).digest()
    changed = perturbed(question, level, np.random.default_rng(list(drawn)))
    if isinstance(record, Completion):
        return replace(record, prompt=changed)
    turn = replace(record.messages[-2], content=changed)
    return replace(record, messages=(*record.messages[:-2], turn, record.messages[-1]))
