"""What a part of an evaluation leaves for the attempt that joins the parts: a file with all that its suite gave.

It may come from a process that ran code of others, so that nothing in it is trusted to be more than data.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tunesmith_api.spending import Spent
from tunesmith_api.suites import Suite
from tunesmith_runtime import storage
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.outcomes import Outcome
from tunesmith_runtime.evaluate.report import MeasuredSuite
from tunesmith_runtime.evaluate.samples import (
    AnswerSample,
    ConfusionMatrix,
    JudgedSample,
    LabelSample,
    RequestSample,
    Sample,
    SuiteResult,
    TaskSample,
    TextSample,
)
from tunesmith_runtime.evaluate.weighing import Weighed

RESULT = "result.json"

_SAMPLES: dict[str, TypeAdapter[Any]] = {
    kind.__name__: TypeAdapter(kind)
    for kind in (AnswerSample, JudgedSample, LabelSample, RequestSample, TaskSample, TextSample)
}


@dataclass(frozen=True)
class Part:
    """What a suite gave, and what was asked of endpoints for it."""

    outcome: Outcome
    spent: Spent


@dataclass(frozen=True)
class _KeptSample:
    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class _KeptResult:
    """A SuiteResult without its summands: what they tell is in `weighed`."""

    metrics: dict[str, float]
    samples: tuple[_KeptSample, ...]
    higher_is_better: dict[str, bool]
    notes: tuple[str, ...]
    confusion: ConfusionMatrix | None
    counts: dict[str, int]


@dataclass(frozen=True)
class _Kept:
    """The file. `same`: target and baseline are one, and its result stands for both."""

    problems: tuple[str, ...]
    left_out: tuple[str, ...]
    spent: dict[str, int]
    target: _KeptResult | None
    baseline: _KeptResult | None
    same: bool
    weighed: dict[str, Weighed]


_FILE = TypeAdapter(_Kept)


def is_written(uri: str) -> bool:
    """Return whether a part has left its result in the folder at a URI."""
    try:
        folder = storage.data_folder(uri)
    except DataError:
        return False
    return folder is not None and (folder / RESULT).is_file()


def write(part: Part, folder: Path) -> None:
    """Write what a part has measured into a folder."""
    outcome, measured = part.outcome, part.outcome.measured
    target, baseline = (measured.target, measured.baseline) if measured else (None, None)
    kept = _Kept(
        outcome.problems,
        outcome.left_out,
        part.spent.to_json(),
        _kept(target) if target else None,
        _kept(baseline) if baseline and baseline is not target else None,
        same=baseline is not None and baseline is target,
        weighed=dict(measured.weighed) if measured else {},
    )
    (folder / RESULT).write_text(json.dumps(asdict(kept), ensure_ascii=False), encoding="utf-8")


def read(uri: str, suite: Suite) -> Part:
    """Return what a part has left of a suite. Raises DataError."""
    try:
        folder = storage.data_folder(uri)
        text = ((folder or Path()) / RESULT).read_text(encoding="utf-8")
        kept = _FILE.validate_json(text)
        target = _result(kept.target) if kept.target else None
        baseline = target if kept.same else _result(kept.baseline) if kept.baseline else None
        measured = MeasuredSuite(suite, target, baseline, kept.weighed) if target else None
        if target and not _finite(target.metrics) <= kept.weighed.keys():
            raise ValueError("metrics without a weight")
        return Part(Outcome(measured, kept.problems, kept.left_out), Spent.model_validate(kept.spent))
    except (OSError, DataError, ValidationError, ValueError, KeyError) as error:
        raise DataError(
            f"{uri} does not hold what suite {suite.name} has given ({type(error).__name__}); somebody has changed it: "
            "delete the EvalJob and create it again"
        ) from error


def _kept(result: SuiteResult) -> _KeptResult:
    return _KeptResult(
        dict(result.metrics),
        tuple(_KeptSample(type(sample).__name__, asdict(sample)) for sample in result.samples),
        dict(result.higher_is_better),
        result.notes,
        result.confusion,
        dict(result.counts),
    )


def _result(kept: _KeptResult) -> SuiteResult:
    return SuiteResult(
        kept.metrics,
        tuple(_sample(each) for each in kept.samples),
        {},
        higher_is_better=kept.higher_is_better,
        notes=kept.notes,
        confusion=kept.confusion,
        counts=kept.counts,
    )


def _sample(kept: _KeptSample) -> Sample:
    found: Sample = _SAMPLES[kept.kind].validate_python(kept.fields)
    return found


def _finite(metrics: Mapping[str, float]) -> set[str]:
    return {name for name, value in metrics.items() if abs(value) < float("inf")}
