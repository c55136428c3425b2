"""How fast an endpoint answers under load."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np

from tunesmith_api.data import DatasetSource
from tunesmith_api.suites import EvalSuite, PerformanceSuite, Suite
from tunesmith_runtime.data.records import Completion, PlainText
from tunesmith_runtime.data.streams import TextRecord, read_records
from tunesmith_runtime.endpoint import Endpoint, TooLongError
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.endpoint_model import EndpointModel
from tunesmith_runtime.evaluate.load import Load, Prompt, Timing, put_under_load
from tunesmith_runtime.evaluate.respondent import Progress, Respondent
from tunesmith_runtime.evaluate.samples import FIRST_TOKEN, LATENCY, LoadedSuite, RequestSample, SuiteResult
from tunesmith_runtime.evaluate.statistics import binned, mean_of, percentile_of

_PERCENTS = (50, 90, 99)
_DEFAULT_WORDS = 200
_SHOWN = 200
_WORDS = (  # noqa: SIM905 - a list of them fills a page
    "river house garden letter window market winter summer table paper music bridge forest village engine "
    "doctor teacher kitchen mountain island harbour station picture morning evening colour silver copper bread "
    "butter horse candle mirror ladder basket pocket button needle thread carpet blanket pillow curtain bottle "
    "kettle hammer"
).split()


def read(suite: Suite) -> LoadedSuite:
    """Return the suite with the prompts of all requests, those of warm-up first. Raises DataError."""
    kind = _kind(suite)
    count = kind.warmup_requests + kind.requests
    if kind.uri is None:
        return LoadedSuite(suite, made_up(count, kind.prompt_words or _DEFAULT_WORDS, kind.seed))
    parsed = read_records(DatasetSource(uri=kind.uri, format=kind.format))
    prompts = [_prompt(record) for record in parsed.records]
    return LoadedSuite(suite, tuple(islice(cycle(prompts), count)), parsed.empty)


def made_up(count: int, words: int, seed: int) -> tuple[Prompt, ...]:
    """Return prompts of so many random words; a server that keeps the beginnings of prompts gains nothing by them."""
    drawn = np.random.default_rng(seed).choice(_WORDS, (count, words))
    return tuple([{"role": "user", "content": " ".join(row)}] for row in drawn)


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Put the endpoint under load and return how fast it was, and how often it failed.

    Requests are streamed chat completions, and none of them is asked twice. Nothing is kept on the way: a load is
    measured in one piece. Raises DataError, EndpointUnavailableError and EndpointRefusedError when the first request
    of the warm-up is not answered.
    """
    assert isinstance(respondent, EndpointModel)  # noqa: S101 - the spec's own check: this suite needs an endpoint
    kind = _kind(loaded.suite)
    warm_up, prompts = loaded.records[: kind.warmup_requests], loaded.records[kind.warmup_requests :]
    for prompt in warm_up:
        _ask(respondent.endpoint, prompt, kind.max_new_tokens)
        progress(1)
    load = Load(kind.concurrency, kind.request_rate, kind.max_new_tokens, kind.seed)
    return measured(prompts, asyncio.run(put_under_load(respondent.endpoint, prompts, load, progress)))


def measured(prompts: Sequence[Prompt], timings: Sequence[Timing]) -> SuiteResult:
    """Return the metrics of a load. What only answered requests have is left out when there is none."""
    answered = [None if each.error else each for each in timings]
    columns = {
        "timeToFirstToken": [
            None if each is None or each.first is None else each.first - each.begun for each in answered
        ],
        "latency": [None if each is None else each.ended - each.begun for each in answered],
    }
    metrics: dict[str, float] = {}
    summands = {}
    for name, column in columns.items():
        values = [value for value in column if value is not None]
        rows = binned(column)
        for percent in _PERCENTS if values else ():
            metrics[f"{name}P{percent}"] = float(np.percentile(values, percent))
            summands[f"{name}P{percent}"] = percentile_of(rows, percent)
    speeds = [None if each is None else _speed(each) for each in answered]
    if known := [speed for speed in speeds if speed is not None]:
        metrics["streamTokensPerSecond"] = float(np.median(known))
        summands["streamTokensPerSecond"] = percentile_of(binned(speeds), 50)
    good = [each for each in answered if each is not None]
    seconds = max(each.ended for each in timings) - min(each.begun for each in timings)
    if good:
        metrics["tokensPerSecond"] = sum(each.tokens for each in good) / seconds
        metrics["requestsPerSecond"] = len(good) / seconds
    failed = [float(bool(each.error)) for each in timings]
    metrics["errorRate"], summands["errorRate"] = sum(failed) / len(failed), mean_of(failed)
    return SuiteResult(metrics, tuple(_samples(prompts, timings)), summands, notes=tuple(_notes(timings)))


def _samples(prompts: Sequence[Prompt], timings: Sequence[Timing]) -> list[RequestSample]:
    samples = []
    for index, (prompt, each) in enumerate(zip(prompts, timings, strict=True)):
        scores = {} if each.error else {LATENCY: each.ended - each.begun}
        if not each.error and each.first is not None:
            scores[FIRST_TOKEN] = each.first - each.begun
        text = prompt[-1]["content"]
        shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
        samples.append(RequestSample(index, shown, each.begun, each.tokens, each.error, scores))
    return samples


def _notes(timings: Sequence[Timing]) -> list[str]:
    notes = []
    if errors := Counter(each.error for each in timings if each.error):
        named = ", ".join(f"{error} ({count})" for error, count in errors.most_common())
        notes.append(f"{errors.total()} of {len(timings)} requests were not answered: {named}.")
    if any(not each.counted for each in timings if not each.error):
        notes.append("The endpoint does not tell how many tokens it writes: each chunk of a stream counts as one.")
    return notes


def _speed(timing: Timing) -> float | None:
    """Return the tokens per second after the first one, None of an answer that is over with it."""
    if timing.first is None or timing.tokens < 2 or timing.ended <= timing.first:
        return None
    return (timing.tokens - 1) / (timing.ended - timing.first)


def _ask(endpoint: Endpoint, prompt: Prompt, max_tokens: int) -> None:
    try:
        endpoint.chat(prompt, max_tokens=max_tokens, temperature=0.0)
    except TooLongError as error:
        raise DataError(
            f"a prompt is longer than {endpoint.spec.model} at {endpoint.spec.url} can read: {error}. Shorten the "
            "prompts, or lower promptWords or maxNewTokens"
        ) from error


def _prompt(record: TextRecord) -> Prompt:
    match record:
        case PlainText():
            return [{"role": "user", "content": record.text}]
        case Completion():
            return [{"role": "user", "content": record.prompt}]
        case _:
            return [{"role": turn.role, "content": turn.content} for turn in record.messages[:-1]]


def _kind(suite: Suite) -> PerformanceSuite:
    assert isinstance(suite, EvalSuite)  # noqa: S101 - this module is the performance suite's
    assert suite.performance is not None  # noqa: S101 - the same
    return suite.performance
