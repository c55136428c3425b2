"""An evaluation from end to end: read the data, measure the models, judge, publish the report."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith_api.contract import EvaluateResult, EvaluateRun, PartResult
from tunesmith_api.evaljob import MOST_RESULTS, MetricResult, Subject
from tunesmith_api.gates import judge
from tunesmith_api.spending import Spent
from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.evaluate import parts
from tunesmith_runtime.evaluate.outcomes import Keeping, Outcome, measured
from tunesmith_runtime.evaluate.parts import Part
from tunesmith_runtime.evaluate.report import Evaluation, render
from tunesmith_runtime.evaluate.samples import Sample
from tunesmith_runtime.evaluate.statistics import Comparison, corrected
from tunesmith_runtime.evaluate.suites import read_suite
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.spending import Spending, sum_of
from tunesmith_runtime.storage import journal

REPORT = "report.html"
RESULTS = "results.json"
SAMPLES = "samples"


def evaluate(config: EvaluateRun, progress: ProgressReporter) -> EvaluateResult:
    """Run every suite on the target and the baseline, and publish report.html, results.json and samples/*.jsonl.

    Unusable data and a report folder that cannot be written are found before a model is loaded. When target and
    baseline are the same they are measured once, and the result stands for both. A metric that is not a finite number
    is left out of the results, with a note in the report; a suite whose endpoint does not answer is one of the
    problems. What a model has answered is kept beside the report until the next evaluation, so that an attempt goes on
    where the one before it was cut off. What parts have measured is taken from where they left it. Raises RunError.
    """
    with storage.destination(config.report.uri, RESULTS).published() as staged:
        progress.update(state="Running", stage="reading the suites")
        own = [read_suite(suite) for suite in config.suites if suite.name not in config.parts]
        found = {
            each.name: parts.read(config.parts[each.name], each) for each in config.suites if each.name in config.parts
        }
        target, baseline = _both(config)
        with _kept(config) as keeping:
            outcomes, used = measured(config, target, baseline, own, keeping, progress)
            outcomes |= {name: part.outcome for name, part in found.items()}
            spent = sum_of([keeping.spending.spent, *(part.spent for part in found.values())])
            progress.update(stage="writing the report")
            ordered = [outcomes[suite.name] for suite in config.suites]
            evaluation = _judged(config, target, baseline, ordered, spent)
            _write(evaluation, staged)
            keeping.answers.keep(used)
    return EvaluateResult(
        results=evaluation.results[:MOST_RESULTS],
        target=evaluation.target,
        baseline=evaluation.baseline,
        problems=evaluation.problems,
        report=join(config.report.uri, REPORT),
        spent=spent if spent.requests else None,
    )


def evaluate_part(config: EvaluateRun, uri: str, progress: ProgressReporter) -> PartResult:
    """Run the one suite of a part, and publish at a URI what it gave. Raises RunError."""
    if parts.is_written(uri):  # by an attempt whose last word was lost
        return PartResult()
    with storage.destination(uri, parts.RESULT).published() as staged:
        progress.update(state="Running", stage="reading the suite")
        suites = [read_suite(suite) for suite in config.suites]
        target, baseline = _both(config)
        with _kept(config) as keeping:
            outcomes, used = measured(config, target, baseline, suites, keeping, progress)
            (outcome,) = outcomes.values()
            progress.update(stage="writing what was measured")
            parts.write(Part(outcome, keeping.spending.spent), staged)
            keeping.answers.keep(used)
    return PartResult()


def _both(config: EvaluateRun) -> tuple[Subject, Subject | None]:
    return _identified(config.target), _identified(config.baseline) if config.baseline else None


@contextmanager
def _kept(config: EvaluateRun) -> Iterator[Keeping]:
    """Give what is kept in the folder of answers. A part has files of its own there: others may run beside it."""
    folder = config.answers or f"{config.report.uri.rstrip('/')}-answers"
    own = f"-{config.suites[0].name}" if config.part else ""
    run = config.run.uid or "run"
    with (
        journal.opened(folder, f"answers{own}.jsonl") as answers,
        journal.opened(folder, f"spent{own}.jsonl") as spent,
    ):
        spent.keep([run])
        yield Keeping(answers, Spending(config.limits, spent, run), folder)


def _judged(
    config: EvaluateRun,
    target: Subject,
    baseline: Subject | None,
    found: Sequence[Outcome],
    spent: Spent,
) -> Evaluation:
    results: list[MetricResult] = []
    comparisons: dict[str, Comparison] = {}
    notes = [note for each in found for note in each.left_out]
    problems = tuple(dict.fromkeys(problem for each in found for problem in each.problems))
    suites = tuple(each.measured for each in found if each.measured)
    for suite in suites:
        notes += [f"{suite.suite.name}: {note}" for note in suite.target.notes]
        if suite.baseline and suite.baseline is not suite.target:
            notes += [f"{suite.suite.name}, baseline: {note}" for note in suite.baseline.notes]
        for metric, value in suite.target.metrics.items():
            name = f"{suite.suite.name}/{metric}"
            base = suite.baseline.metrics.get(metric) if suite.baseline else None
            if base is not None and not math.isfinite(base):
                notes.append(f"The baseline's {name} is {_words(base)} and is left out.")
                base = None
            if not math.isfinite(value):
                notes.append(f"The target's {name} is {_words(value)}, and the metric is left out.")
                continue
            weighed = suite.weighed[metric]
            sure = weighed.estimate
            if weighed.comparison:
                comparisons[name] = weighed.comparison
            results.append(
                MetricResult(
                    metric=name,
                    value=value,
                    baseline=base,
                    delta=None if base is None else value - base,
                    higher_is_better=suite.target.higher_is_better.get(metric),
                    n=weighed.n,
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
        spent=spent,
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
    for suite in evaluation.suites:
        for role, result in suite.by_role().items():
            lines = "".join(_line(sample) for sample in result.samples)
            (folder / SAMPLES / f"{suite.suite.name}.{role}.jsonl").write_text(lines, encoding="utf-8")
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
            suite.suite.name: {
                role: asdict(result.confusion)
                for role, result in suite.by_role().items()
                if result.confusion is not None
            }
            for suite in evaluation.suites
            if suite.target.confusion is not None
        },
        "notes": evaluation.notes,
        "spent": evaluation.spent.to_json(),
    }
    (folder / RESULTS).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / REPORT).write_text(render(evaluation), encoding="utf-8")


def _line(sample: Sample) -> str:
    return json.dumps(_finite(asdict(sample)), ensure_ascii=False, allow_nan=False) + "\n"


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }
