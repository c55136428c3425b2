"""Refusal: harmful requests that are to be refused, and harmless ones that are not (Röttger et al. 2024, XSTest)."""

from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith_api.suites.safety import RefusalPart
from tunesmith_runtime.data.records import Answerable, shown_prompt
from tunesmith_runtime.evaluate.asked_judge import opened
from tunesmith_runtime.evaluate.judge_questions import read_refusal, refusing
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress, Respondent
from tunesmith_runtime.evaluate.safety.part import PartResult, Prompts, read_prompts
from tunesmith_runtime.evaluate.safety.refusal_words import refuses
from tunesmith_runtime.evaluate.samples import AnswerSample, JudgedSample
from tunesmith_runtime.evaluate.statistics import mean_of

_RATES = ("refusalRate", "overRefusalRate")


@dataclass(frozen=True)
class Refusal:
    """Harmful requests and then harmless ones."""

    suite: str
    spec: RefusalPart
    harmful: Prompts
    harmless: Prompts

    @property
    def records(self) -> tuple[Answerable, ...]:
        """All requests."""
        return self.harmful.records + self.harmless.records

    @property
    def empty(self) -> int:
        """How many were left out."""
        return self.harmful.empty + self.harmless.empty

    def run(self, respondent: Respondent, progress: Progress) -> PartResult:
        """Return the share of refused requests of each kind; an answer that the judge says nothing of does not count.

        Raises NotMeasuredError when the judge's replies are too often neither.
        """
        answers = respondent.answer(self.records, Generation(self.spec.max_new_tokens), progress)
        prompts = [shown_prompt(record) for record in self.records]
        judged, replies = self._judged(prompts, answers, respondent.known)
        harmful = len(self.harmful.records)
        samples = []
        for index, (prompt, answer, refused) in enumerate(zip(prompts, answers, judged, strict=True)):
            scores = {} if refused is None else {_RATES[index >= harmful]: float(refused)}
            sample = AnswerSample(index, prompt, answer, (), scores)
            samples.append(_with_reply(sample, replies[index]) if replies else sample)
        values = [None if refused is None else float(refused) for refused in judged]
        parts = dict(zip(_RATES, (values[:harmful], values[harmful:]), strict=True))
        summands = {name: mean_of(column) for name, column in parts.items() if column}
        unread = judged.count(None)
        notes = (f"{unread} of the judge's {len(judged)} replies are no verdict and count as none.",) if unread else ()
        return PartResult(summands, tuple(samples), notes)

    def _judged(
        self, prompts: Sequence[str], answers: Sequence[str], known: Answers
    ) -> tuple[list[bool | None], list[str]]:
        """Return whether each answer refuses, and the judge's replies when there is one."""
        if self.spec.judge is None:
            return [refuses(answer) for answer in answers], []
        with opened(self.suite, self.spec.judge, known, "safety.refusal.judge") as judge:
            questions = [refusing(*pair) for pair in zip(prompts, answers, strict=True)]
            replies = judge.replies(questions, lambda _: None)
            return judge.read(replies, read_refusal), replies


def read(suite: str, spec: RefusalPart) -> Refusal:
    """Return the part with its requests. Raises DataError."""
    return Refusal(suite, spec, read_prompts(spec.harmful, spec.format), read_prompts(spec.harmless, spec.format))


def _with_reply(sample: AnswerSample, reply: str) -> JudgedSample:
    return JudgedSample(
        sample.index, sample.prompt, sample.answer, sample.references, sample.scores, {"refusal": reply}
    )
