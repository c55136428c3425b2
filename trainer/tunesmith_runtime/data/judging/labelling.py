"""Pairs become preferences, in their order, as they are asked for."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunesmith_api.judging import API_KEY_VARIABLE, Judge
from tunesmith_runtime.data.judging.questions import Verdict, questions, read_verdict
from tunesmith_runtime.data.judging.verdicts import Verdicts, digest, opened
from tunesmith_runtime.data.records import Pair, Preference, Record
from tunesmith_runtime.endpoint import Caller, Endpoint, TooLongError, connected
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.progress import ProgressReporter

if TYPE_CHECKING:
    from tunesmith_api.finetunejob import DataSummary
    from tunesmith_runtime.data.kinds import RecordSource

# How many pairs wait for each that is being judged, so that one slow verdict holds nobody up.
_AHEAD = 8
_REPORT_SECONDS = 2.0
_CALLER = Caller(
    called="the judge",
    field="spec.data.judge",
    key_variable=API_KEY_VARIABLE,
    key_hint=f"give the endpoint's key as {API_KEY_VARIABLE}, in a cluster by a Secret of spec.secretRefs",
)
_TOO_LONG = "(longer than the judge can read)"


@dataclass
class Judging:
    """The judge of a run: what it is asked about, and where its verdicts are kept.

    `checkpoints` is the URI of the run's checkpoints.
    """

    judge: Judge
    checkpoints: str
    reporter: ProgressReporter | None = None
    _sources: list["JudgedRecords"] = field(default_factory=list, init=False)

    def records(self, pairs: "RecordSource", uri: str) -> "JudgedRecords":
        """Return the preferences that a dataset of pairs becomes; `uri` is what sentences call it."""
        judged = JudgedRecords(pairs, uri, self)
        self._sources.append(judged)
        return judged

    def counted(self, summary: "DataSummary") -> "DataSummary":
        """Return the summary with the numbers of all pairs that were judged and of those without a verdict."""
        dropped = summary.dropped.model_copy(update={"undecided": sum(each.undecided for each in self._sources)})
        return summary.model_copy(update={"judged": sum(each.judged for each in self._sources), "dropped": dropped})

    def report(self, stage: str) -> None:
        """Say what the run is at."""
        if self.reporter is not None:
            self.reporter.update(stage=stage)


class JudgedRecords:
    """The preferences of a dataset of pairs, without those for which the judge names no better answer.

    It is asked about each pair in both orders, because judges favour a place (Zheng et al. 2023, arXiv:2306.05685):
    only when it names the same answer twice that one is chosen. `judged`, `undecided` and `digest` are those of the
    last complete iteration.
    """

    def __init__(self, pairs: "RecordSource", uri: str, judging: Judging) -> None:
        self.judged = 0
        self.undecided = 0
        self._pairs = pairs
        self._uri = uri
        self._judging = judging
        self._outcome = ""

    @property
    def digest(self) -> str:
        """SHA-256 of what the pairs were read from, and of the verdicts."""
        return hashlib.sha256(f"{self._pairs.digest}\n{self._outcome}".encode()).hexdigest()

    @property
    def empty(self) -> int:
        """How many pairs were passed over because they are empty."""
        return self._pairs.empty

    def __iter__(self) -> Iterator[Record]:
        """Yield the preferences.

        Raises DataError as the pairs do, and when the judge decides nothing; EndpointUnavailableError and ConfigError
        when the judge does not answer or refuses. All verdicts until then are kept.
        """
        judge, outcome = self._judging.judge, hashlib.sha256()
        judged = undecided = 0
        reply = ""
        told = float("-inf")
        with ExitStack() as stack:
            verdicts = stack.enter_context(opened(self._judging.checkpoints))
            asking = _Asking(judge, verdicts, stack.enter_context(connected(judge, _CALLER)))
            pool = ThreadPoolExecutor(judge.max_concurrency, "judge")
            stack.callback(pool.shutdown, cancel_futures=True)
            ahead = _AHEAD * judge.max_concurrency
            for pair, winner, said in _in_order(pool, asking.better, self._unlabelled(), ahead):
                judged += 1
                outcome.update((winner or "-").encode())
                if time.monotonic() - told >= _REPORT_SECONDS:
                    told = time.monotonic()
                    self._judging.report(f"asking the judge: {judged} pairs so far")
                if winner is None:
                    undecided += 1
                    reply = reply or said
                    continue
                chosen, rejected = (pair.first, pair.second) if winner == "A" else (pair.second, pair.first)
                yield Preference(chosen, rejected)
        if judged and judged == undecided:
            said = f" It said, for one: {reply!r}." if reply else ""
            raise DataError(
                f"{self._uri}: the judge {judge.model} names no better answer in any of {judged} pairs.{said} Give "
                "data.judge clearer criteria, more maxTokens or another model"
            )
        self._judging.report("preparing the data")
        self.judged, self.undecided, self._outcome = judged, undecided, outcome.hexdigest()

    def _unlabelled(self) -> Iterator[Pair]:
        for record in self._pairs:
            assert isinstance(record, Pair)  # noqa: S101 - what the format gives
            yield record


@dataclass(frozen=True)
class _Asking:
    """Asks a judge, unless its verdict is known."""

    judge: Judge
    verdicts: Verdicts
    endpoint: Endpoint

    def better(self, pair: Pair) -> tuple[Pair, Verdict | None, str]:
        """Return the pair, which of its answers is better (A is the first), and a reply that was no verdict."""
        forwards, backwards = questions(pair, self.judge.criteria)
        first, said = self._verdict(forwards)
        if first not in ("A", "B"):
            return pair, None, said
        second, said = self._verdict(backwards)
        return pair, first if {first, second} == {"A", "B"} else None, said

    def _verdict(self, question: str) -> tuple[Verdict, str]:
        key = digest(self.judge, question)
        if known := self.verdicts.get(key):
            return known
        try:
            asked = [{"role": "user", "content": question}]
            reply = self.endpoint.chat(asked, temperature=self.judge.temperature, max_tokens=self.judge.max_tokens)
        except TooLongError:
            reply = _TOO_LONG
        verdict = read_verdict(reply)
        self.verdicts.add(key, verdict, reply)
        return verdict, reply if verdict == "?" else ""


def _in_order(
    pool: ThreadPoolExecutor,
    judge: Callable[[Pair], tuple[Pair, Verdict | None, str]],
    pairs: Iterable[Pair],
    ahead: int,
) -> Iterator[tuple[Pair, Verdict | None, str]]:
    """Yield the outcome for each pair in the order of the pairs, with at most `ahead` of them in the pool."""
    waiting: deque[Future[tuple[Pair, Verdict | None, str]]] = deque()
    for pair in pairs:
        waiting.append(pool.submit(judge, pair))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
