"""The suites, one module for each kind.

A module reads its samples (`read`, before any model is loaded) and measures a respondent on them (`run`). It is
imported by who needs it, because some bring large libraries. A new kind is a model in tunesmith_api.suites, a module
here and a line in `_MODULES`.
"""

import importlib
from typing import Any, Protocol, cast

from tunesmith_api.suites import (
    ClassificationSuite,
    ExtractionSuite,
    GoldenSuite,
    HarnessSuite,
    HumanSuite,
    JudgeSuite,
    PerformanceSuite,
    PerplexitySuite,
    SafetySuite,
    Suite,
    SuiteKind,
)
from tunesmith_runtime.evaluate.rating.people import People
from tunesmith_runtime.evaluate.respondent import Answers, Progress, Respondent
from tunesmith_runtime.evaluate.samples import LoadedSuite, SuiteResult

_MODULES: dict[type[SuiteKind], str] = {
    GoldenSuite: "golden",
    PerplexitySuite: "perplexity",
    JudgeSuite: "judge",
    PerformanceSuite: "performance",
    ClassificationSuite: "classification",
    ExtractionSuite: "extraction",
    HarnessSuite: "harness",
    SafetySuite: "safety",
    HumanSuite: "human",
}


class SuiteModule(Protocol):
    """What a module of a suite has."""

    def read(self, suite: Suite) -> LoadedSuite:
        """Return the suite with its samples. Raises DataError or ConfigError."""

    def run(self, loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
        """Measure a respondent. `progress` is called with how many samples are done since. Raises RunError."""


class Compare(Protocol):
    """What a module may have besides, as `compare`: it is called once target and baseline are measured."""

    def __call__(
        self,
        loaded: LoadedSuite,
        target: SuiteResult,
        baseline: SuiteResult | None,
        known: Answers,
        progress: Progress,
        people: People,
    ) -> tuple[SuiteResult, SuiteResult | None]:
        """Return both results with what only both of them together tell. Raises RunError."""


def module_of(suite: Suite) -> SuiteModule:
    """Return the module of a suite."""
    name = _MODULES[type(suite.kind)]
    return cast(SuiteModule, importlib.import_module(f"{__name__}.{name}"))


def compare_of(suite: Suite) -> Compare | None:
    """Return what compares the results of a suite on target and baseline, if there is something."""
    found: Any = getattr(module_of(suite), "compare", None)
    return cast("Compare | None", found)


def read_suite(suite: Suite) -> LoadedSuite:
    """Return a suite with its samples. Raises DataError or ConfigError."""
    return module_of(suite).read(suite)
