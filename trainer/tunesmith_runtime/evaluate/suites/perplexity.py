"""Perplexity: how well a model predicts texts."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith_api.data import DatasetSource
from tunesmith_api.metrics import PerplexityMetric
from tunesmith_api.suites import PerplexitySuite, Suite
from tunesmith_api.suites.parts import is_part
from tunesmith_runtime.data.formats import BadRecordError
from tunesmith_runtime.data.formats.fields import kind as kind_of
from tunesmith_runtime.data.records import Completion, Conversation, PlainText, Record, shown_prompt
from tunesmith_runtime.data.streams import TextRecord, read_texts
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.respondent import Progress, Respondent
from tunesmith_runtime.evaluate.samples import LoadedSuite, SuiteResult, TextSample
from tunesmith_runtime.evaluate.statistics import Rows, Summands, exp_of_mean

if TYPE_CHECKING:
    from tunesmith_runtime.evaluate.likelihood import Likelihood

# Characters of a text that its sample keeps.
SHOWN = 200
# Streams of one suite: more of them would crowd the metrics of others out of the status.
MOST_STREAMS = 32


def read(suite: Suite) -> LoadedSuite:
    """Return the suite with its texts. Raises DataError, also for a stream without a name that a metric can have."""
    kind = _kind(suite)

    def grouped(fields: Mapping[str, Any], record: TextRecord) -> tuple[TextRecord, str]:
        return record, _stream(fields, kind.group_by) if kind.group_by else ""

    parsed = read_texts(DatasetSource(uri=kind.uri, format=kind.format), grouped)
    records = tuple(record for record, _ in parsed.records)
    if not kind.group_by:
        return LoadedSuite(suite, records, parsed.empty)
    groups = tuple(stream for _, stream in parsed.records)
    if len(set(groups)) > MOST_STREAMS:
        raise DataError(
            f"{kind.uri}: {kind.group_by} has {len(set(groups))} values, and groupBy takes {MOST_STREAMS}; name a "
            "field with fewer"
        )
    return LoadedSuite(suite, records, parsed.empty, groups=groups)


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Return how well the model predicts all records, and those of each stream.

    For perplexity all tokens of a text are scored but the first, which has no context; of a conversation the
    assistant's turns, and of a completion the completion, each with the token that ends it, as in training. The other
    metrics are those of lm-eval's rolling log-likelihood without a token of the tokenizer's own (add_bos_token=False):
    a text's first token counts too, as what comes after the token that begins texts. `maxLength`, or the model's own
    limit when that is less, is the longest window.
    """
    from tunesmith_runtime.evaluate.likelihood import Reading, likelihoods
    from tunesmith_runtime.evaluate.local_model import LocalModel

    assert isinstance(respondent, LocalModel)  # noqa: S101 - the spec's own check: this suite needs weights
    kind = _kind(loaded.suite)
    with_context = "perplexity" in kind.metrics
    reading = Reading(kind.max_length, kind.stride, from_nothing=not with_context)
    found = likelihoods(respondent, loaded.records, reading, progress)
    whole = found
    if with_context and len(kind.metrics) > 1:
        again = Reading(kind.max_length, kind.stride, from_nothing=True)
        whole = likelihoods(respondent, loaded.records, again, lambda _: None)
    summands: dict[str, Summands] = {}
    for part, chosen in _parts(loaded).items():
        for metric in kind.metrics:
            if metric == "perplexity":
                summands[f"{part}{metric}"] = per_token([found[index] for index in chosen])
            else:
                texts = [loaded.records[index].text for index in chosen]
                summands[f"{part}{metric}"] = _METRICS[metric]([whole[index].nll for index in chosen], texts)
    samples = tuple(_sample(index, *pair) for index, pair in enumerate(zip(loaded.records, found, strict=True)))
    return SuiteResult({name: each.value for name, each in summands.items()}, samples, summands)


def _parts(loaded: LoadedSuite) -> dict[str, list[int]]:
    """Return the indices of all records, and of those of each stream, by what stands before a metric's name."""
    parts = {"": list(range(len(loaded.records)))}
    for index, stream in enumerate(loaded.groups):
        parts.setdefault(f"{stream}/", []).append(index)
    return parts


def _stream(fields: Mapping[str, Any], group_by: str) -> str:
    if group_by not in fields:
        raise BadRecordError(f"{group_by} is missing, which groupBy names; there is {', '.join(fields)}")
    stream = fields[group_by]
    if not isinstance(stream, str | int) or isinstance(stream, bool):
        raise BadRecordError(f"{group_by} is {kind_of(stream)}; groupBy takes a string or a whole number")
    if not is_part(str(stream)):
        raise BadRecordError(
            f"{group_by} is {str(stream)[:80]!r}, which cannot stand in a metric's name; write up to 63 ASCII letters, "
            "digits, dots, dashes and underscores, a letter or a digit first"
        )
    return str(stream)


def per_token(found: Sequence["Likelihood"]) -> Summands:
    """Return exp of the mean negative log-likelihood per scored token."""
    return exp_of_mean([each.nll for each in found], [each.tokens for each in found])


def _per_word(nlls: Sequence[float], texts: Sequence[str]) -> Summands:
    return exp_of_mean(nlls, [len(re.split(r"\s+", text)) for text in texts])


def _per_byte(nlls: Sequence[float], texts: Sequence[str]) -> Summands:
    return exp_of_mean(nlls, [len(text.encode("utf-8")) for text in texts])


def _bits_per_byte(nlls: Sequence[float], texts: Sequence[str]) -> Summands:
    return Summands(_per_byte(nlls, texts).rows, _in_bits)


def _in_bits(sums: Rows) -> Rows:
    return sums[:, 0] / sums[:, 1] / math.log(2)


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


_METRICS: dict[PerplexityMetric, Callable[[Sequence[float], Sequence[str]], Summands]] = {
    "wordPerplexity": _per_word,
    "bytePerplexity": _per_byte,
    "bitsPerByte": _bits_per_byte,
}
