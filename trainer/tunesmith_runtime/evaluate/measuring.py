"""One model is measured by every suite."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.data.records import PlainText
from tunesmith_runtime.evaluate import golden, perplexity
from tunesmith_runtime.evaluate.samples import LoadedSuite, SuiteResult
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer


@dataclass(frozen=True)
class Observer:
    """What to call as measuring goes on: with the name of each stage, and with the number of samples just done."""

    stage: Callable[[str], None]
    samples: Callable[[int], None]


def measure(
    folder: Path, suites: Sequence[LoadedSuite], *, batch_size: int, observer: Observer
) -> Mapping[str, SuiteResult]:
    """Load the model of the folder, run the suites on it, and free its memory; return the results by suite name.

    Runs on a GPU if there is one. Raises ModelError or DataError.
    """
    observer.stage("loading")
    tokenizer = load_tokenizer(folder)
    model = load_causal_lm(folder)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    results = measure_model(model, tokenizer, suites, batch_size=batch_size, observer=observer)
    del model
    gc.collect()
    torch.cuda.empty_cache()
    return results


def measure_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suites: Sequence[LoadedSuite],
    *,
    batch_size: int,
    observer: Observer | None = None,
) -> dict[str, SuiteResult]:
    """Run the suites on a model in eval mode, where it is; return the results by suite name. Raises DataError."""
    results: dict[str, SuiteResult] = {}
    for loaded in suites:
        if observer:
            observer.stage(loaded.suite.name)
        progress = observer.samples if observer else lambda _: None
        results[loaded.suite.name] = _run(loaded, model, tokenizer, batch_size, progress)
    return results


def named(results: Mapping[str, SuiteResult]) -> dict[str, float]:
    """Return the metrics of all suites by SUITE/METRIC."""
    return {f"{suite}/{name}": value for suite, result in results.items() for name, value in result.metrics.items()}


def _run(
    loaded: LoadedSuite,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int,
    progress: Callable[[int], None],
) -> SuiteResult:
    suite = loaded.suite
    if suite.perplexity:
        return perplexity.run(
            suite.perplexity, loaded.records, model, tokenizer, batch_size=batch_size, progress=progress
        )
    assert suite.golden is not None  # noqa: S101 - a suite has exactly one kind
    answerable = [record for record in loaded.records if not isinstance(record, PlainText)]
    return golden.run(suite.golden, answerable, model, tokenizer, batch_size=batch_size, progress=progress)
