"""A mirror that breaks waits longer each time, until it has held for a while."""

import pytest

from tunesmith_operator.controller.reflector import LONGEST_PAUSE_SECONDS, pause_after


def test_it_waits_longer_each_time_up_to_a_bound() -> None:
    pauses = [0.0]
    for _ in range(8):
        pauses.append(pause_after(1.0, pauses[-1]))

    assert pauses[1:] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("pause", [0.0, 8.0, LONGEST_PAUSE_SECONDS])
def test_after_a_watch_that_held_it_begins_anew(pause: float) -> None:
    assert pause_after(LONGEST_PAUSE_SECONDS + 1, pause) == 0.5
