"""Golden answers: the model's answers are compared with reference answers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith_api.data import DatasetSource
from tunesmith_api.metrics import GoldenMetric
from tunesmith_api.suites import GoldenSuite, Suite
from tunesmith_api.suites.golden import Tolerance
from tunesmith_runtime import storage
from tunesmith_runtime.data.formats import BadRecordError
from tunesmith_runtime.data.records import Answerable, PlainText, references, shown_prompt
from tunesmith_runtime.data.streams import TextRecord, read_texts
from tunesmith_runtime.evaluate.json_metrics import fits_schema, is_json
from tunesmith_runtime.evaluate.pattern_metrics import finds, last_number, numeric
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress, Respondent
from tunesmith_runtime.evaluate.samples import AnswerSample, LoadedSuite, SuiteResult
from tunesmith_runtime.evaluate.templating import PromptTemplate, asked
from tunesmith_runtime.evaluate.text_metrics import ScoreOne, score

if TYPE_CHECKING:
    from tunesmith_runtime.evaluate.similarity import Pair


def read(suite: Suite) -> LoadedSuite:
    """Return the suite with its questions.

    Raises DataError, also for references that a metric cannot compare with, and ModelError for an encoder that is not
    there.
    """
    kind = _kind(suite)
    template = PromptTemplate(kind.template) if kind.template else None

    def question(fields: Mapping[str, Any], record: TextRecord) -> Answerable:
        assert not isinstance(record, PlainText)  # noqa: S101 - the spec's own check: no format text
        _check(kind, references(record))
        return asked(template, fields, record) if template else record

    parsed = read_texts(DatasetSource(uri=kind.uri, format=kind.format), question)
    if kind.embedding_model:
        storage.model_path(kind.embedding_model)
    return LoadedSuite(suite, parsed.records, parsed.empty, Generation(kind.max_new_tokens))


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Let the model answer each record and return the suite's metrics."""
    kind, records = _kind(loaded.suite), loaded.records
    answers = respondent.answer(records, Generation(kind.max_new_tokens), progress)
    accepted = [references(record) for record in records]
    scores = score(answers, accepted, kind.metrics, _own(kind, answers, accepted, respondent.known))
    samples = tuple(
        AnswerSample(index, shown_prompt(record), answer, wanted, each)
        for index, (record, answer, wanted, each) in enumerate(
            zip(records, answers, accepted, scores.samples, strict=True)
        )
    )
    return SuiteResult(scores.corpus, samples, scores.summands)


def _check(kind: GoldenSuite, accepted: Sequence[str]) -> None:
    """Raise BadRecordError when a metric has nothing to compare an answer with."""
    if "jsonMatch" in kind.metrics and not all(is_json(each) for each in accepted):
        raise BadRecordError("the reference is not JSON, with which metric jsonMatch compares; write it as JSON")
    if "numeric" in kind.metrics and any(last_number(each) is None for each in accepted):
        raise BadRecordError("the reference has no number, which metric numeric compares with; write one in digits")


def _own(
    kind: GoldenSuite, answers: Sequence[str], accepted: Sequence[tuple[str, ...]], known: Answers
) -> dict[GoldenMetric, ScoreOne]:
    """Return how answers are scored by the metrics that have settings."""
    own: dict[GoldenMetric, ScoreOne] = {"numeric": numeric(kind.numeric_tolerance or Tolerance())}
    if kind.json_schema is not None:
        fits = fits_schema(kind.json_schema)
        own["jsonSchema"] = lambda answer, _: fits(answer)
    if kind.regex is not None:
        found = finds(kind.regex)
        own["regex"] = lambda answer, _: found(answer)
    if kind.embedding_model is not None:
        from tunesmith_runtime.evaluate.similarity import similarities

        near: dict[Pair, float] = similarities(kind.embedding_model, list(zip(answers, accepted, strict=True)), known)
        own["similarity"] = lambda answer, wanted: near[answer, tuple(wanted)]
    return own


def _kind(suite: Suite) -> GoldenSuite:
    assert suite.golden is not None  # noqa: S101 - this module is the golden suite's
    return suite.golden
