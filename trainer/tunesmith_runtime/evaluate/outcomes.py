"""What came of the suites that this process measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tunesmith_api.contract import EvaluateRun, RatingProgress, SampleProgress
from tunesmith_api.evaljob import Subject
from tunesmith_runtime.evaluate import subjects
from tunesmith_runtime.evaluate.comparing import Results, compare_results
from tunesmith_runtime.evaluate.measuring import Observer, Problem, measure
from tunesmith_runtime.evaluate.rating.people import People
from tunesmith_runtime.evaluate.report import MeasuredSuite
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.evaluate.samples import LoadedSuite, SuiteResult
from tunesmith_runtime.evaluate.weighing import weigh
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.spending import Spending
from tunesmith_runtime.storage.journal import Journal


@dataclass(frozen=True)
class Outcome:
    """What a suite gave, or why it gave nothing; and sentences on records that were left out."""

    measured: MeasuredSuite | None
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Keeping:
    """What outlives an attempt: answers, what was spent on them, and the folder, by URI, of people's votes."""

    answers: Journal
    spending: Spending
    folder: str


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


def measured(
    config: EvaluateRun,
    target: Subject,
    baseline: Subject | None,
    suites: Sequence[LoadedSuite],
    keeping: Keeping,
    progress: ProgressReporter,
) -> tuple[dict[str, Outcome], frozenset[str]]:
    """Return what the suites gave, by their names, and the keys of all answers. Raises RunError.

    When target and baseline are the same they are measured once, and the result stands for both.
    """
    if not suites:
        return {}, frozenset()
    roles = {"target": target} | ({"baseline": baseline} if baseline else {})
    found = {role: subjects.check(subject) or subject.endpoint for role, subject in roles.items()}
    distinct = {role: roles[role] for role in roles if role == "target" or found[role] != found["target"]}
    meter = _Meter(progress, sum(len(each.records) * (len(distinct) * each.rounds + each.comparing) for each in suites))
    by_role: dict[str, Mapping[str, SuiteResult | Problem]] = {}
    used: set[str] = set()
    for role, subject in distinct.items():
        known = Answers(subjects.identity(subject, config.run.uid), keeping.answers, keeping.spending)
        meter.enter(f"{role}: loading" if subject.endpoint is None else role)
        with subjects.opened(subject, f"spec.{role}", known, config.batch_size) as respondent:
            stage = partial(_stage, meter, role)
            by_role[role] = measure(respondent, suites, Observer(stage=stage, samples=meter.advance))
        used |= known.used
    ours = by_role["target"]
    theirs = by_role.get("baseline", ours) if baseline else {}
    known = Answers("comparison", keeping.answers, keeping.spending)
    results = compare_results(
        suites,
        [Results(ours[each.suite.name], theirs.get(each.suite.name)) for each in suites],
        known,
        Observer(stage=partial(_stage, meter, "comparing"), samples=meter.advance),
        People(keeping.folder, meter.wait),
    )
    used |= known.used
    outcomes = {each.suite.name: _outcome(each, result) for each, result in zip(suites, results, strict=True)}
    return outcomes, frozenset(used)


def _outcome(loaded: LoadedSuite, results: Results) -> Outcome:
    suite, ours, theirs = loaded.suite, results.target, results.baseline
    problems = tuple(f"{suite.name}: {each.message}" for each in (ours, theirs) if isinstance(each, Problem))
    left_out = (
        f"{suite.name}: {loaded.empty} of {loaded.empty + len(loaded.records)} records left out for an empty "
        "answer or text."
    )
    found = None
    if isinstance(ours, SuiteResult):
        baseline = theirs if isinstance(theirs, SuiteResult) else None
        found = MeasuredSuite(suite, ours, baseline, weigh(ours, baseline))
    return Outcome(found, problems, (left_out,) if loaded.empty else ())


def _stage(meter: _Meter, role: str, suite: str) -> None:
    meter.enter(f"{role}: {suite}")
