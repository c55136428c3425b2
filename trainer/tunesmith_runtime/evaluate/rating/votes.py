"""Votes of people on pairs of answers, kept as they are given; and which pair who is to see next."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunesmith_runtime.storage.journal import Journal

# What a person says, and what it means once the answers have been put back in their places.
Choice = Literal["first", "second", "tie"]
Outcome = Literal["target", "baseline", "tie"]
OUTCOMES: tuple[Outcome, ...] = ("target", "tie", "baseline")
LONGEST_NAME = 60


class VoteRefusedError(Exception):
    """A vote that cannot be taken, and why."""


@dataclass(frozen=True)
class Pair:
    """Both answers to a question; `id` is made of all that a vote depends on and tells nothing about it."""

    id: str
    prompt: str
    target: str
    baseline: str


@dataclass(frozen=True)
class _Vote:
    outcome: Outcome
    # Counts all votes of the journal: the largest one is a person's last.
    number: int


def pair_of(instructions: str, prompt: str, target: str, baseline: str) -> Pair:
    """Return a pair of answers to be compared by instructions."""
    said = json.dumps([instructions, prompt, target, baseline])
    return Pair(hashlib.sha256(said.encode()).hexdigest()[:32], prompt, target, baseline)


def name_of(text: str) -> str | None:
    """Return a person's name from what they have written, or None when that is no name."""
    name = " ".join(text.split())
    return name if 0 < len(name) <= LONGEST_NAME and name.isprintable() else None


class Votes:
    """The votes of one suite. Several threads may call it.

    A vote is in the journal before anybody hears of it. `changed` is called with the number of votes that count: of
    each pair as many as are wanted.
    """

    def __init__(
        self, pairs: Sequence[Pair], wanted: int, seed: str, journal: Journal, changed: Callable[[int], None]
    ) -> None:
        """Take the pairs, how many votes each needs, what decides about places, and the votes known already."""
        self._pairs = {each.id: each for each in pairs}
        self._wanted = wanted
        self._seed = seed
        self._journal = journal
        self._changed = changed
        self._lock = threading.RLock()
        self._votes: dict[str, dict[str, _Vote]] = {each: {} for each in self._pairs}
        self._shown: dict[str, str] = {}
        self._number = 0
        for entry in journal.entries().values():
            self._take(entry)

    def _take(self, entry: Mapping[str, Any]) -> None:
        pair, rater, outcome, number = (entry.get(name) for name in ("pair", "rater", "outcome", "number"))
        if isinstance(number, int):
            self._number = max(self._number, number)
            if isinstance(pair, str) and pair in self._votes and outcome in OUTCOMES:
                self._votes[pair][str(rater)] = _Vote(outcome, number)

    @property
    def needed(self) -> int:
        """How many votes are needed in all."""
        return self._wanted * len(self._pairs)

    @property
    def given(self) -> int:
        """How many of those there are."""
        with self._lock:
            return sum(min(len(votes), self._wanted) for votes in self._votes.values())

    @property
    def complete(self) -> bool:
        """Whether there are enough."""
        return self.given == self.needed

    def of(self, pair: str) -> dict[str, Outcome]:
        """Return what was said of a pair, by who has said it."""
        with self._lock:
            return {rater: vote.outcome for rater, vote in self._votes[pair].items()}

    def own(self, rater: str) -> int:
        """Return how many votes a person has given."""
        with self._lock:
            return sum(rater in votes for votes in self._votes.values())

    def next_for(self, rater: str) -> Pair | None:
        """Return the pair that a person is to see: the same one until they vote, and none that they have voted on.

        Pairs with the fewest votes come first, of these such as nobody else looks at, in the order of the questions.
        """
        with self._lock:
            lacking = {
                pair: len(votes)
                for pair, votes in self._votes.items()
                if rater not in votes and len(votes) < self._wanted
            }
            if self._shown.get(rater) not in lacking:
                self._shown.pop(rater, None)
                if not lacking:
                    return None
                elsewhere = Counter(self._shown.values())
                self._shown[rater] = min(lacking, key=lambda pair: (lacking[pair], elsewhere[pair]))
            return self._pairs[self._shown[rater]]

    def target_first(self, pair: str, rater: str) -> bool:
        """Return whether a person is shown the target's answer first: by chance, and each time the same."""
        drawn = hashlib.sha256(json.dumps([self._seed, pair, rater]).encode()).digest()
        return drawn[0] % 2 == 0

    def add(self, rater: str, pair: str, choice: Choice) -> None:
        """Keep a vote. Raises VoteRefusedError, and OSError or NotWritableError when it cannot be kept."""
        with self._lock:
            if pair not in self._pairs:
                raise VoteRefusedError("There is no such pair of answers in this evaluation.")
            if rater in self._votes[pair]:
                raise VoteRefusedError("You have voted on this pair already; undo that vote to change it.")
            self._refuse_when_complete()
            named: tuple[Outcome, Outcome] = ("target", "baseline")
            first, second = named if self.target_first(pair, rater) else named[::-1]
            outcome: Outcome = {"first": first, "second": second, "tie": "tie"}[choice]
            vote = self._keep(rater, pair, outcome)
            self._votes[pair][rater] = _Vote(outcome, vote)
            self._shown.pop(rater, None)
            self._changed(self.given)

    def undo(self, rater: str) -> None:
        """Take back a person's last vote, whose pair they see again. Raises as `add` does."""
        with self._lock:
            self._refuse_when_complete()
            own = {votes[rater].number: pair for pair, votes in self._votes.items() if rater in votes}
            if not own:
                raise VoteRefusedError("There is no vote of yours to take back.")
            pair = own[max(own)]
            self._keep(rater, pair, None)
            del self._votes[pair][rater]
            self._shown[rater] = pair
            self._changed(self.given)

    def _refuse_when_complete(self) -> None:
        if self.complete:
            raise VoteRefusedError("There are enough votes, and the evaluation goes on without more.")

    def _keep(self, rater: str, pair: str, outcome: Outcome | None) -> int:
        number = self._number + 1
        entry = {"pair": pair, "rater": rater, "outcome": outcome, "number": number}
        self._journal.add({f"vote {pair} {rater}": entry})
        self._number = number
        return number
