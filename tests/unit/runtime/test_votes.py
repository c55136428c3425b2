"""Votes on pairs: who sees which, where the answers stand, and that none is lost; and how far people agree."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tunesmith_runtime.evaluate.rating.agreement import agreement, kappa
from tunesmith_runtime.evaluate.rating.votes import Pair, VoteRefusedError, Votes, name_of, pair_of
from tunesmith_runtime.storage.journal import Journal

PAIRS = [pair_of("Which?", f"Question {number}", f"ours {number}", f"theirs {number}") for number in range(4)]


def votes(path: Path, wanted: int = 1, pairs: list[Pair] = PAIRS, told: Callable[[int], None] | None = None) -> Votes:
    return Votes(pairs, wanted, "seed", Journal(path / "votes.jsonl"), told or (lambda _: None))


def shown(each: Votes, rater: str) -> str:
    pair = each.next_for(rater)
    assert pair is not None
    return pair.id


def say(each: Votes, rater: str, outcome: str) -> str:
    """Vote on the next pair for who is named; return its id."""
    pair = shown(each, rater)
    first = "target" if each.target_first(pair, rater) else "baseline"
    each.add(rater, pair, "tie" if outcome == "tie" else "first" if outcome == first else "second")
    return pair


def test_a_person_sees_each_pair_once_in_order_and_the_same_one_until_they_vote(tmp_path: Path) -> None:
    rated = votes(tmp_path)
    seen = []
    for _ in PAIRS:
        assert shown(rated, "Ann") == shown(rated, "Ann")
        seen.append(say(rated, "Ann", "target"))
    assert seen == [each.id for each in PAIRS]
    assert rated.complete
    assert rated.next_for("Ann") is None
    assert rated.next_for("Bob") is None


def test_two_people_share_the_work(tmp_path: Path) -> None:
    rated = votes(tmp_path)
    assert shown(rated, "Ann") == PAIRS[0].id
    assert shown(rated, "Bob") == PAIRS[1].id
    say(rated, "Ann", "tie")
    assert shown(rated, "Ann") == PAIRS[2].id
    say(rated, "Bob", "tie")
    assert shown(rated, "Bob") == PAIRS[3].id
    say(rated, "Bob", "tie")
    # What Ann looks at still lacks a vote; if she has gone to lunch, Bob gives it.
    assert shown(rated, "Bob") == PAIRS[2].id
    say(rated, "Bob", "tie")
    assert rated.complete


def test_pairs_with_the_fewest_votes_come_first(tmp_path: Path) -> None:
    rated = votes(tmp_path, wanted=2)
    say(rated, "Ann", "target")
    assert shown(rated, "Bob") == PAIRS[1].id, "the first has a vote already"
    for _ in PAIRS[1:]:
        say(rated, "Ann", "target")
    assert rated.next_for("Ann") is None, "nobody votes twice, though votes are missing"
    assert rated.given == 4
    assert not rated.complete


def test_places_are_drawn_for_each_pair_and_person_and_stay(tmp_path: Path) -> None:
    pairs = [pair_of("Which?", str(number), "a", "b") for number in range(200)]
    rated, again = votes(tmp_path, pairs=pairs), votes(tmp_path, pairs=pairs)
    ann = [rated.target_first(each.id, "Ann") for each in pairs]
    bob = [rated.target_first(each.id, "Bob") for each in pairs]
    assert ann == [again.target_first(each.id, "Ann") for each in pairs]
    # 200 fair draws are between 70 and 130 but once in 50,000 times.
    assert 70 < sum(ann) < 130
    assert 70 < sum(one == other for one, other in zip(ann, bob, strict=True)) < 130
    other = Votes(pairs, 1, "another seed", Journal(tmp_path / "other.jsonl"), lambda _: None)
    assert [other.target_first(each.id, "Ann") for each in pairs] != ann


def test_a_vote_is_for_whose_answer_stood_there(tmp_path: Path) -> None:
    pairs = [pair_of("Which?", str(number), "a", "b") for number in range(20)]
    rated = votes(tmp_path, pairs=pairs)
    for each in pairs:
        rated.add("Ann", each.id, "first")
        assert rated.of(each.id) == {"Ann": "target" if rated.target_first(each.id, "Ann") else "baseline"}
    assert {rated.of(each.id)["Ann"] for each in pairs} == {"target", "baseline"}


def test_undoing_brings_the_pair_back_one_after_the_other(tmp_path: Path) -> None:
    told: list[int] = []
    rated = votes(tmp_path, told=told.append)
    first, second = say(rated, "Ann", "target"), say(rated, "Ann", "tie")
    rated.undo("Ann")
    assert shown(rated, "Ann") == second
    rated.undo("Ann")
    assert shown(rated, "Ann") == first
    with pytest.raises(VoteRefusedError, match=r"^There is no vote of yours to take back\.$"):
        rated.undo("Ann")
    assert told == [1, 2, 1, 0]
    say(rated, "Ann", "baseline")
    assert votes(tmp_path).of(first) == {"Ann": "baseline"}
    assert votes(tmp_path).of(second) == {}


def test_the_last_of_votes_that_were_undone_is_known_by_the_next_attempt(tmp_path: Path) -> None:
    rated = votes(tmp_path)
    first, second = say(rated, "Ann", "target"), say(rated, "Ann", "target")
    rated.undo("Ann")
    rated.undo("Ann")
    say(rated, "Ann", "tie")  # on the first: now it is the latest
    assert shown(rated, "Ann") == second

    again = votes(tmp_path)
    say(again, "Ann", "tie")
    again.undo("Ann")
    assert shown(again, "Ann") == second
    again.undo("Ann")
    assert shown(again, "Ann") == first


@pytest.mark.parametrize("sentence", [r"voted on this pair already", r"no such pair"])
def test_a_vote_that_cannot_be_is_refused(tmp_path: Path, sentence: str) -> None:
    rated = votes(tmp_path)
    done = say(rated, "Ann", "target")
    with pytest.raises(VoteRefusedError, match=sentence):
        rated.add("Ann", done if "already" in sentence else "unknown", "tie")
    assert rated.given == 1


def test_with_enough_votes_nothing_changes_any_more(tmp_path: Path) -> None:
    rated = votes(tmp_path, pairs=PAIRS[:1])
    say(rated, "Ann", "target")
    for late in (lambda: rated.add("Bob", PAIRS[0].id, "tie"), lambda: rated.undo("Ann")):
        with pytest.raises(VoteRefusedError, match="There are enough votes"):
            late()
    assert rated.of(PAIRS[0].id) == {"Ann": "target"}


def test_votes_are_known_again_also_when_the_last_line_was_cut_off(tmp_path: Path) -> None:
    rated = votes(tmp_path)
    one, other = say(rated, "Ann", "target"), say(rated, "Ann", "baseline")
    file = tmp_path / "votes.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    again = votes(tmp_path)
    assert (again.of(one), again.of(other)) == ({"Ann": "target"}, {})
    assert shown(again, "Ann") == other


def test_votes_on_other_answers_or_by_other_instructions_do_not_count(tmp_path: Path) -> None:
    say(votes(tmp_path, pairs=PAIRS[:1]), "Ann", "target")
    same = PAIRS[0]
    for other in (
        pair_of("Which?", same.prompt, "ours, retrained", same.baseline),
        pair_of("Which?", same.prompt, same.baseline, same.target),
        pair_of("Which is kinder?", same.prompt, same.target, same.baseline),
    ):
        assert votes(tmp_path, pairs=[other]).given == 0
    assert votes(tmp_path, pairs=[same]).given == 1


def test_a_vote_that_cannot_be_kept_does_not_count(tmp_path: Path) -> None:
    rated = votes(tmp_path)
    (tmp_path / "votes.jsonl").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        rated.add("Ann", shown(rated, "Ann"), "tie")
    assert (rated.given, rated.own("Ann")) == (0, 0)


def test_many_people_at_once_lose_nothing(tmp_path: Path) -> None:
    pairs = [pair_of("Which?", str(number), "a", "b") for number in range(30)]
    rated = votes(tmp_path, wanted=4, pairs=pairs)

    refused: list[str] = []

    def all_day(name: str) -> None:
        while pair := rated.next_for(name):
            try:
                rated.add(name, pair.id, "tie")
            except VoteRefusedError as error:
                refused.append(str(error))

    people = [threading.Thread(target=all_day, args=(f"person {number}",)) for number in range(6)]
    for each in people:
        each.start()
    for each in people:
        each.join()
    assert rated.complete
    assert set(refused) <= {"There are enough votes, and the evaluation goes on without more."}
    assert all(len(rated.of(each.id)) >= 4 for each in pairs)
    again = votes(tmp_path, wanted=4, pairs=pairs)
    assert [again.of(each.id) for each in pairs] == [rated.of(each.id) for each in pairs]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" Ann  B. ", "Ann B."),
        ("Žofie 👩‍💻", None),  # a joiner that cannot be seen would make two people of one
        ("Žofie", "Žofie"),
        ("", None),
        ("  ", None),
        ("x" * 61, None),
        ("a\x00b", None),
        ("\ud800", None),
    ],
)
def test_names(text: str, name: str | None) -> None:
    assert name_of(text) == name


class TestAgreement:
    # Fourteen people put ten patients into five classes: the example of the literature, with a kappa of 0.210.
    FLEISS = np.array(
        [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ],
        dtype=float,
    )

    def test_a_table_of_the_literature(self) -> None:
        found = kappa(self.FLEISS)
        assert found is not None
        assert agreement(self.FLEISS).value == pytest.approx(0.378, abs=5e-4)
        assert found.value == pytest.approx(0.210, abs=5e-4)
        assert found.samples == 10

    def test_by_hand(self) -> None:
        # Three votes on each of two pairs: all for the target; two for the target and one tie.
        # Agreeing pairs of votes: 3 of 3 and 1 of 3. By chance: (5/6)^2 + (1/6)^2 = 26/36.
        counts = np.array([[3.0, 0, 0], [2.0, 1, 0]])
        found = kappa(counts)
        assert found is not None
        assert agreement(counts).value == pytest.approx(4 / 6)
        assert found.value == pytest.approx((4 / 6 - 26 / 36) / (1 - 26 / 36))

    def test_pairs_of_fewer_than_two_votes_do_not_count(self) -> None:
        counts = np.array([[2.0, 0, 0], [1.0, 0, 1], [0, 0, 1], [0, 0, 0]])
        assert agreement(counts).value == 0.5
        assert agreement(counts).samples == 2

    def test_nothing_is_said_where_all_votes_are_alike(self) -> None:
        assert kappa(np.array([[2.0, 0, 0], [2, 0, 0]])) is None
        assert agreement(np.array([[2.0, 0, 0], [2, 0, 0]])).value == 1
