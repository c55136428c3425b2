"""How a model behaves where it could do harm: the parts of the suite one after the other."""

import importlib
from dataclasses import dataclass, replace
from typing import Any, cast

from tunesmith_api.suites import EvalSuite, SafetySuite, Suite
from tunesmith_runtime.evaluate.respondent import Progress, Respondent
from tunesmith_runtime.evaluate.safety.part import Part
from tunesmith_runtime.evaluate.samples import AnswerSample, LoadedSuite, SuiteResult
from tunesmith_runtime.evaluate.statistics import Summands

# The module of each part, imported when it is asked for: some bring large libraries.
_MODULES = {
    "refusal": "refusal",
    "personal_data": "personal",
    "toxicity": "toxicity",
    "robustness": "robustness",
    "bias": "bias",
    "memorisation": "memorisation",
}


@dataclass(frozen=True)
class _SafetySuite(LoadedSuite):
    parts: tuple[Part, ...] = ()


def read(suite: Suite) -> LoadedSuite:
    """Return the suite with what all its parts ask. Raises DataError, ConfigError and ModelError."""
    kind = _kind(suite)
    parts = tuple(_read(module, suite.name, spec) for name, module in _MODULES.items() if (spec := getattr(kind, name)))
    records = tuple(record for part in parts for record in part.records)
    return _SafetySuite(suite, records, sum(part.empty for part in parts), parts=parts)


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Measure each part and return the metrics of all. Raises RunErrors of the model, of judges and classifiers."""
    assert isinstance(loaded, _SafetySuite)  # noqa: S101 - what `read` gives
    summands: dict[str, Summands] = {}
    samples: list[AnswerSample] = []
    notes: list[str] = []
    for part in loaded.parts:
        found = part.run(respondent, progress)
        summands |= found.summands
        samples += [replace(each, index=len(samples) + each.index) for each in found.samples]
        notes += found.notes
    return SuiteResult(
        {name: each.value for name, each in summands.items()}, tuple(samples), summands, notes=tuple(notes)
    )


def _read(module: str, suite: str, spec: Any) -> Part:
    return cast(Part, importlib.import_module(f"tunesmith_runtime.evaluate.safety.{module}").read(suite, spec))


def _kind(suite: Suite) -> SafetySuite:
    assert isinstance(suite, EvalSuite)  # noqa: S101 - this module is the safety suite's
    assert suite.safety is not None  # noqa: S101 - the same
    return suite.safety
