"""Perplexity: how well a model predicts texts."""

from typing import TYPE_CHECKING

from tunesmith_api.data import DatasetSource
from tunesmith_api.suites import PerplexitySuite, Suite
from tunesmith_runtime.data.records import Completion, Conversation, PlainText, Record, shown_prompt
from tunesmith_runtime.data.streams import read_records
from tunesmith_runtime.evaluate.respondent import Progress, Respondent
from tunesmith_runtime.evaluate.samples import LoadedSuite, SuiteResult, TextSample
from tunesmith_runtime.evaluate.statistics import exp_of_mean

if TYPE_CHECKING:
    from tunesmith_runtime.evaluate.likelihood import Likelihood

# Characters of a text that its sample keeps.
SHOWN = 200


def read(suite: Suite) -> LoadedSuite:
    """Return the suite with its texts. Raises DataError."""
    kind = _kind(suite)
    parsed = read_records(DatasetSource(uri=kind.uri, format=kind.format))
    return LoadedSuite(suite, parsed.records, parsed.empty)


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Return exp of the mean negative log-likelihood over all scored tokens of all records.

    Scored are all tokens of a text but the first, which has no context; of a conversation the assistant's turns, and
    of a completion the completion, each with the token that ends it, as in training. `maxLength`, or the model's own
    limit when that is less, is the longest window.
    """
    from tunesmith_runtime.evaluate.likelihood import likelihoods, perplexity
    from tunesmith_runtime.evaluate.local_model import LocalModel

    assert isinstance(respondent, LocalModel)  # noqa: S101 - the spec's own check: this suite needs weights
    found = likelihoods(respondent, loaded.records, _kind(loaded.suite).max_length, progress)
    samples = tuple(_sample(index, *pair) for index, pair in enumerate(zip(loaded.records, found, strict=True)))
    summands = exp_of_mean([each.nll for each in found], [each.tokens for each in found])
    return SuiteResult({"perplexity": perplexity(found)}, samples, {"perplexity": summands})


def _sample(index: int, record: Record, likelihood: "Likelihood") -> TextSample:
    return TextSample(index, _start(record), likelihood.nll, likelihood.tokens)


def _start(record: Record) -> str:
    match record:
        case PlainText():
            text = record.text
        case Completion():
            text = record.prompt + record.completion
        case Conversation():
            text = f"{shown_prompt(record)}\n\n{record.messages[-1].content}"
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _kind(suite: Suite) -> PerplexitySuite:
    assert suite.perplexity is not None  # noqa: S101 - this module is the perplexity suite's
    return suite.perplexity
