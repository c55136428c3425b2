"""Golden answers: the model's answers are compared with reference answers."""

from tunesmith_api.data import DatasetSource
from tunesmith_api.suites import GoldenSuite, Suite
from tunesmith_runtime.data.records import PlainText, references, shown_prompt
from tunesmith_runtime.data.streams import read_records
from tunesmith_runtime.evaluate.respondent import Generation, Progress, Respondent
from tunesmith_runtime.evaluate.samples import AnswerSample, LoadedSuite, SuiteResult
from tunesmith_runtime.evaluate.text_metrics import score


def read(suite: Suite) -> LoadedSuite:
    """Return the suite with its questions. Raises DataError."""
    kind = _kind(suite)
    parsed = read_records(DatasetSource(uri=kind.uri, format=kind.format))
    records = tuple(record for record in parsed.records if not isinstance(record, PlainText))
    return LoadedSuite(suite, records, parsed.empty, Generation(kind.max_new_tokens))


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Let the model answer each record and return the suite's metrics."""
    kind, records = _kind(loaded.suite), loaded.records
    answers = respondent.answer(records, Generation(kind.max_new_tokens), progress)
    accepted = [references(record) for record in records]
    scores = score(answers, accepted, kind.metrics)
    samples = tuple(
        AnswerSample(index, shown_prompt(record), answer, wanted, each)
        for index, (record, answer, wanted, each) in enumerate(
            zip(records, answers, accepted, scores.samples, strict=True)
        )
    )
    return SuiteResult(scores.corpus, samples, scores.summands)


def _kind(suite: Suite) -> GoldenSuite:
    assert suite.golden is not None  # noqa: S101 - this module is the golden suite's
    return suite.golden
