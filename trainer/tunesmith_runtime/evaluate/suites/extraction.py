"""Extraction: answers that stand in a text, scored as SQuAD 2.0 scores them (Rajpurkar et al. 2018)."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith_api.data import DatasetSource
from tunesmith_api.suites import ExtractionSuite, Suite
from tunesmith_api.suites.extraction import HAS_ANSWER, NO_ANSWER
from tunesmith_runtime.data.records import ASSISTANT, Conversation, Message, Question, Record
from tunesmith_runtime.data.streams import read_each
from tunesmith_runtime.evaluate.respondent import Generation, Progress, Respondent
from tunesmith_runtime.evaluate.samples import AnswerSample, LoadedSuite, SuiteResult
from tunesmith_runtime.evaluate.statistics import mean_of
from tunesmith_runtime.evaluate.templating import PromptTemplate
from tunesmith_runtime.evaluate.text_metrics import ScoreOne, exact_match, normalize_answer, token_f1

QUESTION = """Answer the question with words from the text.\
{% if noAnswer %} If the answer is not in the text, say only: {{ noAnswer }}{% endif %}

Text: {{ context }}

Question: {{ question }}"""
# What SQuAD writes for the reference of a question without an answer.
_NONE = ("",)


def read(suite: Suite) -> LoadedSuite:
    """Return the suite with its questions, each as a turn of a chat. Raises DataError."""
    kind = _kind(suite)
    template = PromptTemplate(kind.template or QUESTION)

    def asked(fields: Mapping[str, Any], record: Record) -> Conversation:
        assert isinstance(record, Question)  # noqa: S101 - what the format squad gives
        prompt = template.render(
            {**fields, "question": record.question, "context": record.context, "noAnswer": kind.no_answer}
        )
        accepted = tuple(dict.fromkeys(each.text for each in record.answers if normalize_answer(each.text))) or _NONE
        return Conversation((Message("user", prompt), Message(ASSISTANT, accepted[0])), accepted)

    parsed = read_each(DatasetSource(uri=kind.uri, format="squad"), asked)
    return LoadedSuite(suite, parsed.records, parsed.empty, Generation(kind.max_new_tokens))


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Let the model answer each question and return the suite's metrics.

    The answer that there is none is right, and scores 1, where there is none, and scores 0 elsewhere. Where questions
    of both kinds are asked, the metrics of each kind are given besides.
    """
    kind = _kind(loaded.suite)
    records: Sequence[Conversation] = loaded.records
    answers = respondent.answer(records, Generation(kind.max_new_tokens), progress)
    samples = tuple(
        AnswerSample(index, record.messages[-2].content, answer, record.references, _scores(kind, answer, record))
        for index, (record, answer) in enumerate(zip(records, answers, strict=True))
    )
    parts = {"": samples}
    unanswerable = tuple(each for each in samples if each.references == _NONE)
    if 0 < len(unanswerable) < len(samples):
        parts |= {
            f"{HAS_ANSWER}/": tuple(each for each in samples if each.references != _NONE),
            f"{NO_ANSWER}/": unanswerable,
        }
    summands = {
        f"{part}{metric}": mean_of([each.scores[metric] for each in chosen])
        for part, chosen in parts.items()
        for metric in kind.metrics
    }
    return SuiteResult({name: each.value for name, each in summands.items()}, samples, summands)


def _scores(kind: ExtractionSuite, answer: str, record: Conversation) -> dict[str, float]:
    says_none = kind.no_answer is not None and normalize_answer(answer) == normalize_answer(kind.no_answer)
    return {metric: _METRICS[metric]("" if says_none else answer, record.references) for metric in kind.metrics}


def _f1(answer: str, references: Sequence[str]) -> float:
    """Return the best token F1; where one side says that there is no answer, whether the other does too."""
    if normalize_answer(answer) and references != _NONE:
        return token_f1(answer, references)
    return exact_match(answer, references)


def _kind(suite: Suite) -> ExtractionSuite:
    assert suite.extraction is not None  # noqa: S101 - this module is the extraction suite's
    return suite.extraction


_METRICS: dict[str, ScoreOne] = {"exactMatch": exact_match, "f1": _f1}
