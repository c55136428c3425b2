"""An evaluation from end to end: read the data, measure the models, judge, publish the report."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tunesmith_api.contract import EvaluateResult, EvaluateRun, RatingProgress, SampleProgress
from tunesmith_api.evaljob import MOST_RESULTS, MetricResult, Subject
from tunesmith_api.gates import judge
from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.evaluate import subjects
from tunesmith_runtime.evaluate.comparing import Results, compare_results
from tunesmith_runtime.evaluate.measuring import Observer, Problem, measure
from tunesmith_runtime.evaluate.rating.people import People
from tunesmith_runtime.evaluate.report import Evaluation, MeasuredSuite, render
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.evaluate.samples import LoadedSuite, Sample, SuiteResult
from tunesmith_runtime.evaluate.statistics import Comparison, compare, corrected, estimate
from tunesmith_runtime.evaluate.suites import read_suite
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.storage import journal
from tunesmith_runtime.storage.journal import Journal

REPORT = "report.html"
RESULTS = "results.json"
SAMPLES = "samples"
ANSWERS = "answers.jsonl"


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

    def wait(self, rating: RatingProgress | None) -> None:
        if rating:
            stage = f"waits for votes: {rating.votes} of {rating.needed}"
            self.reporter.update(stage=stage, rating=rating, samples=self._progress())
        else:
            self.reporter.update(rating=None)

    def _progress(self) -> SampleProgress:
        return SampleProgress(done=self.done, total=self.total)


def evaluate(config: EvaluateRun, progress: ProgressReporter) -> EvaluateResult:
    """Run every suite on the target and the baseline, and publish report.html, results.json and samples/*.jsonl.

    Unusable data and a report folder that cannot be written are found before a model is loaded. When target and
    baseline are the same they are measured once, and the result stands for both. A metric that is not a finite number
    is left out of the results, with a note in the report; a suite whose endpoint does not answer is one of the
    problems. What a model has answered is kept beside the report until the next evaluation, so that an attempt goes on
    where the one before it was cut off. Raises RunError.
    """
    with storage.destination(config.report.uri, RESULTS).published() as staged:
        progress.update(state="Running", stage="reading the suites")
        suites = [read_suite(suite) for suite in config.suites]
        target = _identified(config.target)
        baseline = _identified(config.baseline) if config.baseline else None
        with journal.opened(_answers(config), ANSWERS) as kept:
            measured, problems, used = _measure(config, target, baseline, suites, kept, progress)
            progress.update(stage="writing the report")
            left_out = [
                f"{each.suite.name}: {each.empty} of {each.empty + len(each.records)} records left out for an empty "
                "answer or text."
                for each in suites
                if each.empty
            ]
            evaluation = _judged(config, target, baseline, measured, problems, left_out)
            _write(evaluation, staged)
            kept.keep(used)
    return EvaluateResult(
        results=evaluation.results[:MOST_RESULTS],
        target=evaluation.target,
        baseline=evaluation.baseline,
        problems=evaluation.problems,
        report=join(config.report.uri, REPORT),
    )


def _measure(
    config: EvaluateRun,
    target: Subject,
    baseline: Subject | None,
    suites: Sequence[LoadedSuite],
    kept: Journal,
    progress: ProgressReporter,
) -> tuple[tuple[MeasuredSuite, ...], tuple[str, ...], frozenset[str]]:
    """Return what the suites gave, what is wrong with those that gave nothing, and the keys of all answers."""
    roles = {"target": target} | ({"baseline": baseline} if baseline else {})
    found = {role: subjects.check(subject) or subject.endpoint for role, subject in roles.items()}
    distinct = {role: roles[role] for role in roles if role == "target" or found[role] != found["target"]}
    meter = _Meter(progress, sum(len(each.records) * (len(distinct) * each.rounds + each.comparing) for each in suites))
    measured: dict[str, Mapping[str, SuiteResult | Problem]] = {}
    used: set[str] = set()
    for role, subject in distinct.items():
        known = Answers(subjects.identity(subject, config.run.uid), kept)
        meter.enter(f"{role}: loading" if subject.endpoint is None else role)
        with subjects.opened(subject, f"spec.{role}", known, config.batch_size) as respondent:
            stage = partial(_stage, meter, role)
            measured[role] = measure(respondent, suites, Observer(stage=stage, samples=meter.advance))
        used |= known.used
    target_results = measured["target"]
    baseline_results = measured.get("baseline", target_results) if baseline else {}
    known = Answers("comparison", kept)
    results = compare_results(
        suites,
        [Results(target_results[suite.name], baseline_results.get(suite.name)) for suite in config.suites],
        known,
        Observer(stage=partial(_stage, meter, "comparing"), samples=meter.advance),
        People(_answers(config), meter.wait),
    )
    used |= known.used
    suite_results: list[MeasuredSuite] = []
    problems: list[str] = []
    for suite, each in zip(config.suites, results, strict=True):
        ours, theirs = each.target, each.baseline
        problems += [f"{suite.name}: {found.message}" for found in (ours, theirs) if isinstance(found, Problem)]
        if isinstance(ours, SuiteResult):
            suite_results.append(MeasuredSuite(suite, ours, theirs if isinstance(theirs, SuiteResult) else None))
    return tuple(suite_results), tuple(dict.fromkeys(problems)), frozenset(used)


def _answers(config: EvaluateRun) -> str:
    """Return the folder of what models and people have answered."""
    return config.answers or f"{config.report.uri.rstrip('/')}-answers"


def _stage(meter: _Meter, role: str, suite: str) -> None:
    meter.enter(f"{role}: {suite}")


def _judged(
    config: EvaluateRun,
    target: Subject,
    baseline: Subject | None,
    suites: tuple[MeasuredSuite, ...],
    problems: tuple[str, ...],
    left_out: Sequence[str],
) -> Evaluation:
    results: list[MetricResult] = []
    comparisons: dict[str, Comparison] = {}
    notes = list(left_out)
    for measured in suites:
        notes += [f"{measured.suite.name}: {note}" for note in measured.target.notes]
        if measured.baseline and measured.baseline is not measured.target:
            notes += [f"{measured.suite.name}, baseline: {note}" for note in measured.baseline.notes]
        for metric, value in measured.target.metrics.items():
            name = f"{measured.suite.name}/{metric}"
            base = measured.baseline.metrics.get(metric) if measured.baseline else None
            if base is not None and not math.isfinite(base):
                notes.append(f"The baseline's {name} is {_words(base)} and is left out.")
                base = None
            if not math.isfinite(value):
                notes.append(f"The target's {name} is {_words(value)}, and the metric is left out.")
                continue
            ours = measured.target.summands.get(metric)
            theirs = measured.baseline.summands.get(metric) if measured.baseline and base is not None else None
            sure = estimate(ours) if ours else None
            if ours and theirs and (compared := compare(ours, theirs)):
                comparisons[name] = compared
            results.append(
                MetricResult(
                    metric=name,
                    value=value,
                    baseline=base,
                    delta=None if base is None else value - base,
                    higher_is_better=measured.target.higher_is_better.get(metric),
                    n=ours.samples if ours else measured.target.counts.get(metric, len(measured.target.samples)),
                    stderr=sure.stderr if sure else None,
                    ci95=(sure.low, sure.high) if sure else None,
                )
            )
    p_values = corrected({name: each.p_value for name, each in comparisons.items()})
    results = [result.model_copy(update={"p_value": p_values.get(result.metric)}) for result in results]
    gated = [gate.metric for gate in config.gates]
    results.sort(key=lambda result: result.metric not in gated)
    verdict, outcomes = judge(config.gates, results, problems)
    return Evaluation(
        run=config.run,
        target=target,
        baseline=baseline,
        suites=suites,
        results=tuple(results),
        verdict=verdict,
        gates=outcomes,
        problems=problems,
        detectable={name: each.detectable for name, each in comparisons.items() if each.detectable is not None},
        notes=tuple(notes),
        earlier=config.earlier,
        checkpoint=_checkpoint(target),
    )


def _checkpoint(subject: Subject) -> int | None:
    """Return the step of the checkpoint that is evaluated, by the name of its folder."""
    name, _, step = subject.uri.rpartition("/")[2].rpartition("-")
    return int(step) if subject.base and name == "checkpoint" and step.isdigit() else None


def _words(value: float) -> str:
    return "not a number" if math.isnan(value) else "too large for a number"


def _identified(model: Subject) -> Subject:
    """Return the model with its digest: the given one, or what its lineage says."""
    if model.digest or model.endpoint or model.base:
        return model
    try:
        lineage = storage.model_path(model.uri) / "lineage.json"
        digest = json.loads(lineage.read_text(encoding="utf-8")).get("digest")
    except (OSError, ValueError, AttributeError):
        return model
    return model.model_copy(update={"digest": digest})


def _write(evaluation: Evaluation, folder: Path) -> None:
    (folder / SAMPLES).mkdir()
    for measured in evaluation.suites:
        for role, result in measured.by_role().items():
            lines = "".join(_line(sample) for sample in result.samples)
            (folder / SAMPLES / f"{measured.suite.name}.{role}.jsonl").write_text(lines, encoding="utf-8")
    document = {
        "run": evaluation.run.to_json(),
        "verdict": evaluation.verdict,
        "problems": evaluation.problems,
        "gates": [gate.to_json() for gate in evaluation.gates],
        "results": [result.to_json() for result in evaluation.results],
        "target": evaluation.target.to_json(),
        "baseline": evaluation.baseline.to_json() if evaluation.baseline else None,
        "minimumDetectableEffects": evaluation.detectable,
        "confusionMatrices": {
            measured.suite.name: {
                role: asdict(result.confusion)
                for role, result in measured.by_role().items()
                if result.confusion is not None
            }
            for measured in evaluation.suites
            if measured.target.confusion is not None
        },
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
