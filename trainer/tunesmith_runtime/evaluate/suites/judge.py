"""Answers that a judge behind an endpoint scores, or compares with the baseline's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from tunesmith_api.suites import EvalSuite, JudgeSuite, Suite
from tunesmith_runtime.data.records import shown_prompt
from tunesmith_runtime.evaluate import human_labels, open_questions, pairs
from tunesmith_runtime.evaluate.asked_judge import opened
from tunesmith_runtime.evaluate.human_labels import Label
from tunesmith_runtime.evaluate.judge_questions import Verdict, comparison, grading, read_score, read_verdict
from tunesmith_runtime.evaluate.rating.people import People
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress, Respondent
from tunesmith_runtime.evaluate.samples import AnswerSample, JudgedSample, LoadedSuite, SuiteResult

# Verdicts with the target's answer as A, and with the baseline's as A. All others are ties.
_WON: tuple[Verdict, Verdict] = ("A", "B")
_LOST: tuple[Verdict, Verdict] = ("B", "A")
_CONSISTENT = (_WON, _LOST, ("TIE", "TIE"))


@dataclass(frozen=True)
class _JudgedSuite(LoadedSuite):
    labels: tuple[Label, ...] = ()


def read(suite: Suite) -> LoadedSuite:
    """Return the suite with its questions, and what people say of the answers. Raises DataError."""
    kind = _kind(suite)
    records, empty = open_questions.read(kind.uri, kind.format)
    labels: tuple[Label, ...] = ()
    if kind.human_labels:
        scale = None if kind.pairwise else kind.scores
        labels = human_labels.read(kind.human_labels, [shown_prompt(record) for record in records], scale)
    return _JudgedSuite(
        suite,
        records,
        empty,
        Generation(kind.max_new_tokens),
        rounds=1 if kind.pairwise else 1 + len(kind.criteria),
        comparing=2 if kind.pairwise else 0,
        labels=labels,
    )


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Let the model answer each question, and the judge score each answer, unless answers are to be compared.

    A reply that is no score counts as none. Raises NotMeasuredError when more than a tenth of all replies are none, and
    RunErrors of the model's and the judge's endpoint.
    """
    kind = _kind(loaded.suite)
    answers = respondent.answer(loaded.records, Generation(kind.max_new_tokens), progress)
    samples = open_questions.answered(loaded.records, answers)
    if kind.pairwise:
        return SuiteResult({}, tuple(samples), {})
    return _scored(loaded.suite, samples, respondent.known, progress)


def compare(
    loaded: LoadedSuite,
    target: SuiteResult,
    baseline: SuiteResult | None,
    known: Answers,
    progress: Progress,
    people: People,
) -> tuple[SuiteResult, SuiteResult | None]:
    """Let the judge compare the answers of both, if it is to; and compare it with what people say of the target's.

    The judge is asked about each pair in both orders, because judges favour a place; only who wins in both has won,
    and all else is a tie (Zheng et al. 2023). Raises as `run` does.
    """
    assert isinstance(loaded, _JudgedSuite)  # noqa: S101 - what `read` gives
    kind = _kind(loaded.suite)
    if kind.pairwise:
        assert baseline is not None  # noqa: S101 - the spec's own check: pairwise needs a baseline
        target, baseline = _pairs(loaded.suite, target, baseline, known, progress)
    if kind.human_labels:
        target = _beside_people(loaded, target)
    return target, baseline


def _scored(suite: Suite, asked: Sequence[AnswerSample], known: Answers, progress: Progress) -> SuiteResult:
    kind = _kind(suite)
    scale, names = kind.scores, [each.name for each in kind.criteria]
    with opened(suite.name, kind, known, "judge") as judge:
        replies = judge.replies(
            [
                grading(criterion, scale, each.prompt, each.references, each.answer)
                for each in asked
                for criterion in kind.criteria
            ],
            progress,
        )
        read = judge.read(replies, lambda reply: read_score(reply, scale))
    columns: dict[str, list[float | None]] = {"score": []}
    columns |= {f"{name}/score": [] for name in names} if len(names) > 1 else {}
    samples = []
    for row, sample in enumerate(asked):
        own = slice(row * len(names), (row + 1) * len(names))
        scores = dict(zip(names, read[own], strict=True))
        known_scores = [each for each in scores.values() if each is not None]
        values = {"score": fmean(known_scores) if len(known_scores) == len(names) else None}
        values |= {f"{name}/score": score for name, score in scores.items()} if len(names) > 1 else {}
        for name, value in values.items():
            columns[name].append(value)
        samples.append(_judged(sample, values, dict(zip(names, replies[own], strict=True))))
    return _result(columns, samples, read.count(None), len(read))


def _pairs(
    suite: Suite, target: SuiteResult, baseline: SuiteResult, known: Answers, progress: Progress
) -> tuple[SuiteResult, SuiteResult]:
    kind = _kind(suite)
    both = pairs.answers_of(target, baseline)
    # Equal answers are a tie, about which nobody needs to be asked.
    differing = [(one, other) for one, other in both if one.answer != other.answer]
    progress(2 * (len(both) - len(differing)))
    with opened(suite.name, kind, known, "judge") as judge:
        replies = judge.replies(
            [
                comparison(kind.criteria, one.prompt, one.references, first.answer, second.answer)
                for one, other in differing
                for first, second in ((one, other), (other, one))
            ],
            progress,
        )
        read = judge.read(replies, _verdict)
    columns: dict[str, list[float | None]] = {"winRate": [], "tieRate": [], "positionConsistency": []}
    samples = []
    verdicts, said = iter(read), iter(replies)
    for one, other in both:
        won: float | None = 0.5
        consistent: float | None = None
        words: dict[str, str] = {}
        if one.answer != other.answer:
            orders = (next(verdicts), next(verdicts))
            words = {"targetFirst": next(said), "baselineFirst": next(said)}
            won = None if None in orders else 1.0 if orders == _WON else 0.0 if orders == _LOST else 0.5
            consistent = None if won is None else float(orders in _CONSISTENT)
        columns["winRate"].append(won)
        columns["tieRate"].append(None if won is None else float(won == 0.5))
        columns["positionConsistency"].append(consistent)
        samples.append(_judged(one, {"winRate": won}, words))
    found = _result(columns, samples, read.count(None), len(read))
    return found, pairs.against_itself(baseline, columns["winRate"])


def _result(
    columns: dict[str, list[float | None]], samples: Sequence[JudgedSample], unread: int, replies: int
) -> SuiteResult:
    note = f"{unread} of the judge's {replies} replies are no verdict and count as none."
    return pairs.result_of(columns, samples, (note,) if unread else ())


def _judged(sample: AnswerSample, scores: dict[str, float | None], replies: dict[str, str]) -> JudgedSample:
    known = {name: score for name, score in scores.items() if score is not None}
    return JudgedSample(sample.index, sample.prompt, sample.answer, sample.references, known, replies)


def _beside_people(loaded: _JudgedSuite, target: SuiteResult) -> SuiteResult:
    samples = [each for each in target.samples if isinstance(each, AnswerSample)]
    kind = _kind(loaded.suite)
    verdicts = [each.scores.get("winRate" if kind.pairwise else "score") for each in samples]
    found = human_labels.agreement(loaded.labels, verdicts, [each.answer for each in samples], names=kind.pairwise)
    return replace(
        target,
        metrics={**target.metrics, **found.metrics},
        summands={**target.summands, **found.summands},
        notes=(*target.notes, *found.notes),
    )


def _verdict(reply: str) -> Verdict | None:
    found = read_verdict(reply)
    return None if found == "?" else found


def _kind(suite: Suite) -> JudgeSuite:
    assert isinstance(suite, EvalSuite)  # noqa: S101 - this module is the judge suite's
    assert suite.judge is not None  # noqa: S101 - the same
    return suite.judge
