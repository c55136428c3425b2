"""Answers of target and baseline that people compare on a page, which is served until there are enough votes."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tunesmith_api.contract import RatingProgress
from tunesmith_api.suites import EvalSuite, HumanSuite, Suite
from tunesmith_runtime.evaluate import open_questions, pairs
from tunesmith_runtime.evaluate.rating import agreement
from tunesmith_runtime.evaluate.rating.people import People
from tunesmith_runtime.evaluate.rating.votes import OUTCOMES, Outcome, Pair, Votes, pair_of
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress, Respondent
from tunesmith_runtime.evaluate.samples import AnswerSample, JudgedSample, LoadedSuite, SuiteResult
from tunesmith_runtime.evaluate.statistics import Summands
from tunesmith_runtime.storage import journal
from tunesmith_runtime.storage.journal import Journal

VOTES = "votes.jsonl"
# What an outcome is as the target's win rate.
_WINS: Mapping[Outcome, float] = {"target": 1.0, "tie": 0.5, "baseline": 0.0}


def read(suite: Suite) -> LoadedSuite:
    """Return the suite with its questions. Raises DataError."""
    kind = _kind(suite)
    records, empty = open_questions.read(kind.uri, kind.format)
    return LoadedSuite(suite, records, empty, Generation(kind.max_new_tokens), comparing=kind.votes)


def run(loaded: LoadedSuite, respondent: Respondent, progress: Progress) -> SuiteResult:
    """Let the model answer each question. Raises RunError."""
    answers = respondent.answer(loaded.records, Generation(_kind(loaded.suite).max_new_tokens), progress)
    return SuiteResult({}, tuple(open_questions.answered(loaded.records, answers)), {})


def compare(
    loaded: LoadedSuite,
    target: SuiteResult,
    baseline: SuiteResult | None,
    known: Answers,
    progress: Progress,
    people: People,
) -> tuple[SuiteResult, SuiteResult | None]:
    """Let people compare the answers of both, and return once each pair has as many votes as it needs.

    Equal answers are a tie, about which nobody is asked. Votes of earlier attempts count. Raises RunError when the page
    cannot be served and NotWritableError when votes cannot be kept.
    """
    assert baseline is not None  # noqa: S101 - the spec's own check: people compare with a baseline
    kind = _kind(loaded.suite)
    both = pairs.answers_of(target, baseline)
    asked = [
        None if one.answer == other.answer else pair_of(kind.instructions, one.prompt, one.answer, other.answer)
        for one, other in both
    ]
    distinct = [*{each.id: each for each in asked if each}.values()]
    progress(kind.votes * (len(both) - len(distinct)))
    votes = _voted(kind, distinct, progress, people)
    found = _result([one for one, _ in both], asked, votes, many=kind.votes > 1)
    return found, pairs.against_itself(baseline, [each.scores["winRate"] for each in found.samples])


def _voted(
    kind: HumanSuite, distinct: Sequence[Pair], progress: Progress, people: People
) -> dict[str, dict[str, Outcome]]:
    """Return what people have said of each pair, by its id."""
    if not distinct:
        return {}
    with journal.opened(people.folder, VOTES, upload_seconds=0) as kept:
        page = _page(kept)
        address = ""
        counted = 0

        def changed(given: int) -> None:
            nonlocal counted
            progress(given - counted)
            counted = given
            if address:
                people.waits(RatingProgress(url=address, votes=given, needed=votes.needed))

        votes = Votes(distinct, kind.votes, page["seed"], kept, changed)
        changed(votes.given)
        if not votes.complete:
            # Served only where somebody votes: it takes a second to import.
            from tunesmith_runtime.evaluate.rating import serving

            with serving.served(votes, kind.instructions, page["secret"]) as served:
                address = served.url
                changed(votes.given)
                try:
                    served.wait()
                finally:
                    people.waits(None)
        return {each.id: votes.of(each.id) for each in distinct}


def _page(kept: Journal) -> Mapping[str, str]:
    """Return the key of the page and what decides about places, the same ones in each attempt."""
    known = kept.get("page")
    if known is None or not {"secret", "seed"} <= known.keys():
        known = {"secret": secrets.token_urlsafe(24), "seed": secrets.token_hex(16)}
        kept.add({"page": known})
    return {name: str(value) for name, value in known.items()}


def _result(
    ours: Sequence[AnswerSample],
    asked: Sequence[Pair | None],
    votes: Mapping[str, Mapping[str, Outcome]],
    *,
    many: bool,
) -> SuiteResult:
    # People's names stay where their votes are kept.
    raters = sorted({rater for each in votes.values() for rater in each})
    columns: dict[str, list[float | None]] = {"winRate": [], "tieRate": []}
    samples = []
    for sample, pair in zip(ours, asked, strict=True):
        said: Mapping[str, Outcome] = votes[pair.id] if pair else {}
        outcomes = [*said.values()] or ["tie"]
        won = float(np.mean([_WINS[each] for each in outcomes]))
        columns["winRate"].append(won)
        columns["tieRate"].append(outcomes.count("tie") / len(outcomes))
        words = {f"rater {raters.index(rater) + 1}": outcome for rater, outcome in sorted(said.items())}
        judged = JudgedSample(sample.index, sample.prompt, sample.answer, sample.references, {"winRate": won}, words)
        samples.append(judged)
    found = pairs.result_of(columns, samples)
    return _with_agreement(found, asked, votes) if many else found


def _with_agreement(
    result: SuiteResult, asked: Sequence[Pair | None], votes: Mapping[str, Mapping[str, Outcome]]
) -> SuiteResult:
    said = [[*votes[pair.id].values()] if pair else [] for pair in asked]
    counts = np.array([[float(each.count(outcome)) for outcome in OUTCOMES] for each in said])
    if not (counts.sum(axis=1) > 1).any():
        note = "raterAgreement and raterKappa are left out: all answers are equal, and nobody was asked."
        return replace(result, notes=(*result.notes, note))
    measured: dict[str, Summands] = {"raterAgreement": agreement.agreement(counts)}
    notes = result.notes
    if (kappa := agreement.kappa(counts)) is not None:
        measured["raterKappa"] = kappa
    else:
        notes = (*notes, "raterKappa is left out: it says nothing where all votes are alike.")
    return replace(
        result,
        metrics={**result.metrics, **{name: each.value for name, each in measured.items()}},
        summands={**result.summands, **measured},
        notes=notes,
    )


def _kind(suite: Suite) -> HumanSuite:
    assert isinstance(suite, EvalSuite)  # noqa: S101 - this module is the human suite's
    assert suite.human is not None  # noqa: S101 - the same
    return suite.human
