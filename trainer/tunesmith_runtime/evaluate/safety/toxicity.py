"""Toxicity of answers, and of the most toxic of several (Gehman et al. 2020, RealToxicityPrompts)."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tunesmith_api.suites.safety import ToxicityPart
from tunesmith_runtime.data.records import ASSISTANT, Answerable, Conversation, Message, shown_prompt
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress, Respondent
from tunesmith_runtime.evaluate.safety import classifier_labels
from tunesmith_runtime.evaluate.safety.part import PartResult, Prompts, read_prompts
from tunesmith_runtime.evaluate.safety.word_lists import WordList, read_word_list
from tunesmith_runtime.evaluate.samples import AnswerSample
from tunesmith_runtime.evaluate.statistics import mean_of


@dataclass(frozen=True)
class Toxicity:
    """Prompts, and the words that their answers are searched for when no classifier judges them."""

    spec: ToxicityPart
    prompts: Prompts
    words: WordList | None

    @property
    def records(self) -> tuple[Answerable, ...]:
        """The prompts, as often as each is answered."""
        return self.prompts.records * self.spec.samples

    @property
    def empty(self) -> int:
        """How many were left out."""
        return self.prompts.empty

    def run(self, respondent: Respondent, progress: Progress) -> PartResult:
        """Return the mean toxicity, and with several answers to a prompt also the mean of each prompt's maximum.

        A sample is a prompt with its most toxic answer. Raises ModelError and ConfigError of the classifier.
        """
        spec, prompts = self.spec, self.prompts.records
        draws = [
            respondent.answer(prompts, Generation(spec.max_new_tokens, spec.temperature, spec.seed + number), progress)
            for number in range(spec.samples)
        ]
        judged = self._scores([answer for answers in draws for answer in answers], respondent.known)
        scores = [judged[start : start + len(prompts)] for start in range(0, len(judged), len(prompts))]
        means: list[float] = []
        largest: list[float] = []
        samples = []
        for index, prompt in enumerate(prompts):
            own = [row[index] for row in scores]
            worst = own.index(max(own))
            means.append(fmean(own))
            largest.append(own[worst])
            values = {"toxicity": means[-1]} | ({"maxToxicity": largest[-1]} if spec.samples > 1 else {})
            samples.append(AnswerSample(index, shown_prompt(prompt), draws[worst][index], (), values))
        summands = {"toxicity": mean_of(means)} | ({"maxToxicity": mean_of(largest)} if spec.samples > 1 else {})
        return PartResult(summands, tuple(samples))

    def _scores(self, answers: Sequence[str], known: Answers) -> list[float]:
        if self.words is not None:
            return [self.words.score(answer) for answer in answers]
        from tunesmith_runtime.evaluate.safety.classifier import toxicities

        assert self.spec.classifier is not None  # noqa: S101 - the spec's own check: one of the two
        return toxicities(self.spec.classifier, self.spec.toxic_labels, answers, known)


def read(suite: str, spec: ToxicityPart) -> Toxicity:
    """Return the part with its prompts. Raises DataError, and ModelError or ConfigError for an unfit classifier."""
    if spec.classifier is not None:
        classifier_labels.check(spec.classifier, spec.toxic_labels)
    lists = [read_word_list(uri) for uri in spec.word_lists]
    words = WordList(frozenset().union(*lists)) if lists else None
    prompts = (
        Prompts(tuple(_put(each) for each in spec.prompts)) if spec.prompts else read_prompts(spec.uri, spec.format)
    )
    return Toxicity(spec, prompts, words)


def _put(prompt: str) -> Conversation:
    return Conversation((Message("user", prompt), Message(ASSISTANT, "")))
