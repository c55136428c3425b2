"""An evaluation from end to end: read the data, measure the models, judge, publish the report."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith_api.contract import EvaluateResult, EvaluateRun, SampleProgress
from tunesmith_api.evaljob import MetricResult
from tunesmith_api.finetunejob import PublishedModel
from tunesmith_api.gates import judge
from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.evaluate.reading import read_suite
from tunesmith_runtime.evaluate.report import Evaluation, MeasuredSuite, render
from tunesmith_runtime.evaluate.samples import LoadedSuite, Sample
from tunesmith_runtime.evaluate.statistics import Comparison, compare, corrected, estimate
from tunesmith_runtime.progress import ProgressReporter

REPORT = "report.html"
RESULTS = "results.json"
SAMPLES = "samples"


@dataclass
class _Meter:
    """Reports the stage, and how many samples are done over all suites and models."""

    reporter: ProgressReporter
    total: int
    done: int = 0

    def enter(self, stage: str) -> None:
        self.reporter.update(state="Running", stage=stage[:200], samples=self._progress())

    def advance(self, samples: int) -> None:
        if samples:
            self.done += samples
            self.reporter.update(samples=self._progress())

    def _progress(self) -> SampleProgress:
        return SampleProgress(done=self.done, total=self.total)


def evaluate(config: EvaluateRun, progress: ProgressReporter) -> EvaluateResult:
    """Run every suite on the target and the baseline, and publish report.html, results.json and samples/*.jsonl.

    Unusable data and a report folder that cannot be written are found before a model is loaded. When target and
    baseline are one folder it is measured once, and stands for both. A metric that is not a finite number is left out
    of the results, with a note in the report. Raises RunError.
    """
    with storage.destination(config.report.uri, RESULTS).published() as staged:
        progress.update(state="Running", stage="reading the suites")
        suites = [read_suite(suite) for suite in config.suites]
        target = _identified(config.target)
        baseline = _identified(config.baseline) if config.baseline else None
        measured = _measure(config, suites, progress)
        progress.update(stage="writing the report")
        left_out = [
            f"{each.suite.name}: {each.empty} of {each.empty + len(each.records)} records left out for an empty answer "
            "or text."
            for each in suites
            if each.empty
        ]
        evaluation = _judged(config, target, baseline, measured, left_out)
        _write(evaluation, staged)
    return EvaluateResult(
        results=evaluation.results,
        target=evaluation.target,
        baseline=evaluation.baseline,
        report=join(config.report.uri, REPORT),
    )


def _measure(
    config: EvaluateRun, suites: Sequence[LoadedSuite], progress: ProgressReporter
) -> tuple[MeasuredSuite, ...]:
    target = storage.model_path(config.target.uri).resolve()
    baseline = storage.model_path(config.baseline.uri).resolve() if config.baseline else None
    names = {target: "target"}
    if baseline:
        names.setdefault(baseline, "baseline")
    meter = _Meter(progress, len(names) * sum(len(each.records) for each in suites))

    from tunesmith_runtime.evaluate.measuring import Observer, measure  # brings torch: unusable data is told sooner

    def observer(name: str) -> Observer:
        return Observer(stage=lambda stage: meter.enter(f"{name}: {stage}"), samples=meter.advance)

    measured = {
        folder: measure(folder, suites, batch_size=config.batch_size, observer=observer(name))
        for folder, name in names.items()
    }
    return tuple(
        MeasuredSuite(suite, measured[target][suite.name], measured[baseline][suite.name] if baseline else None)
        for suite in config.suites
    )


def _judged(
    config: EvaluateRun,
    target: PublishedModel,
    baseline: PublishedModel | None,
    suites: tuple[MeasuredSuite, ...],
    left_out: Sequence[str],
) -> Evaluation:
    results: list[MetricResult] = []
    comparisons: dict[str, Comparison] = {}
    notes = list(left_out)
    for measured in suites:
        for metric, value in measured.target.metrics.items():
            name = f"{measured.suite.name}/{metric}"
            base = measured.baseline.metrics[metric] if measured.baseline else None
            if base is not None and not math.isfinite(base):
                notes.append(f"The baseline's {name} is {_words(base)} and is left out.")
                base = None
            if not math.isfinite(value):
                notes.append(f"The target's {name} is {_words(value)}, and the metric is left out.")
                continue
            sure = estimate(measured.target.summands[metric])
            if measured.baseline and base is not None:
                compared = compare(measured.target.summands[metric], measured.baseline.summands[metric])
                comparisons |= {name: compared} if compared else {}
            results.append(
                MetricResult(
                    metric=name,
                    value=value,
                    baseline=base,
                    delta=None if base is None else value - base,
                    n=len(measured.target.samples),
                    stderr=sure.stderr if sure else None,
                    ci95=(sure.low, sure.high) if sure else None,
                )
            )
    p_values = corrected({name: each.p_value for name, each in comparisons.items()})
    results = [result.model_copy(update={"p_value": p_values.get(result.metric)}) for result in results]
    gated = [gate.metric for gate in config.gates]
    results.sort(key=lambda result: result.metric not in gated)
    verdict, outcomes = judge(config.gates, results)
    return Evaluation(
        run=config.run,
        target=target,
        baseline=baseline,
        suites=suites,
        results=tuple(results),
        verdict=verdict,
        gates=outcomes,
        detectable={name: each.detectable for name, each in comparisons.items() if each.detectable is not None},
        notes=tuple(notes),
    )


def _words(value: float) -> str:
    return "not a number" if math.isnan(value) else "too large for a number"


def _identified(model: PublishedModel) -> PublishedModel:
    """Return the model with its digest: the given one, or what its lineage says."""
    if model.digest:
        return model
    try:
        lineage = storage.model_path(model.uri) / "lineage.json"
        digest = json.loads(lineage.read_text(encoding="utf-8")).get("digest")
        return PublishedModel(uri=model.uri, digest=digest, adapter=model.adapter)
    except (OSError, ValueError, AttributeError):
        return model


def _write(evaluation: Evaluation, folder: Path) -> None:
    (folder / SAMPLES).mkdir()
    for measured in evaluation.suites:
        for role, result in {"target": measured.target, "baseline": measured.baseline}.items():
            if result:
                lines = "".join(_line(sample) for sample in result.samples)
                (folder / SAMPLES / f"{measured.suite.name}.{role}.jsonl").write_text(lines, encoding="utf-8")
    document = {
        "run": evaluation.run.to_json(),
        "verdict": evaluation.verdict,
        "gates": [gate.to_json() for gate in evaluation.gates],
        "results": [result.to_json() for result in evaluation.results],
        "target": evaluation.target.to_json(),
        "baseline": evaluation.baseline.to_json() if evaluation.baseline else None,
        "minimumDetectableEffects": evaluation.detectable,
        "notes": evaluation.notes,
    }
    (folder / RESULTS).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / REPORT).write_text(render(evaluation), encoding="utf-8")


def _line(sample: Sample) -> str:
    return json.dumps(_finite(asdict(sample)), ensure_ascii=False, allow_nan=False) + "\n"


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }
