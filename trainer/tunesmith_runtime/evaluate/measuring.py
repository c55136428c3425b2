"""One model or endpoint is measured by every suite."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.evaluation import MOST_METRICS
from tunesmith_runtime.endpoint import EndpointRefusedError, EndpointUnavailableError
from tunesmith_runtime.errors import ConfigError, DataError
from tunesmith_runtime.evaluate.respondent import Answers, Respondent
from tunesmith_runtime.evaluate.samples import LoadedSuite, NotMeasuredError, SuiteResult
from tunesmith_runtime.evaluate.suites import module_of
from tunesmith_runtime.spending import LimitReachedError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


# Errors that leave one suite without a result, and the others as they are.
NOT_MEASURED = (EndpointUnavailableError, EndpointRefusedError, LimitReachedError, NotMeasuredError)


@dataclass(frozen=True)
class Observer:
    """What to call as measuring goes on: with the name of each stage, and with the number of samples just done."""

    stage: Callable[[str], None] = lambda _: None
    samples: Callable[[int], None] = lambda _: None


@dataclass(frozen=True)
class Problem:
    """Why a suite has no result."""

    message: str


def measure(
    respondent: Respondent, suites: Sequence[LoadedSuite], observer: Observer
) -> dict[str, SuiteResult | Problem]:
    """Run the suites on a respondent; return what each gives by its name.

    An endpoint that does not answer, be it the respondent's or a judge's, leaves that suite without a result, and so
    does a limit that is reached. Raises other RunErrors.
    """
    results: dict[str, SuiteResult | Problem] = {}
    for loaded in suites:
        observer.stage(loaded.suite.name)
        try:
            results[loaded.suite.name] = module_of(loaded.suite).run(loaded, respondent, observer.samples)
        except NOT_MEASURED as error:
            results[loaded.suite.name] = Problem(error.message)
        except (ConfigError, DataError) as error:
            raise type(error)(f"suite {loaded.suite.name}: {error.message}") from error
    return results


def measure_model(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    suites: Sequence[LoadedSuite],
    *,
    batch_size: int,
    observer: Observer | None = None,
) -> dict[str, float]:
    """Return the suites' metrics of a model in eval mode, where it is, by SUITE/METRIC. Raises RunError.

    Of metrics of parts, which depend on the data, there are as many as a status has room for.
    """
    from tunesmith_runtime.evaluate.batching import Batching
    from tunesmith_runtime.evaluate.local_model import LocalModel

    subject = LocalModel(model, tokenizer, Batching(batch_size, model.device), Answers("this"))
    found = measure(subject, suites, observer or Observer())
    metrics = {
        f"{suite}/{name}": value
        for suite, result in found.items()
        if isinstance(result, SuiteResult)
        for name, value in result.metrics.items()
    }
    certain = {name for loaded in suites for name in loaded.suite.metric_names()}
    kept = sorted(metrics, key=lambda name: name not in certain)[: MOST_METRICS - 1]
    return {name: value for name, value in metrics.items() if name in kept}
