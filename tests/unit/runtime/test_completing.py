"""A checkpoint that becomes complete beside training."""

import threading

import pytest

from tunesmith_runtime.train.completing import Completion


def test_training_goes_on_meanwhile_and_the_next_one_waits() -> None:
    done: list[int] = []
    release = threading.Event()

    def first() -> None:
        release.wait(20)
        done.append(1)

    completion = Completion()
    completion.start(first)
    completion.check()
    assert done == []
    release.set()
    completion.start(lambda: done.append(2))
    completion.wait()
    assert done == [1, 2]


def test_what_goes_wrong_ends_training_at_the_next_step() -> None:
    def fail() -> None:
        raise OSError("No space left on device")

    completion = Completion()
    completion.start(fail)
    with pytest.raises(OSError, match="No space left"):
        completion.wait()
    completion.check()  # it is said once


def test_training_that_has_failed_lets_it_end() -> None:
    done: list[int] = []
    completion = Completion()
    completion.start(lambda: done.append(1))
    completion.settle()
    assert done == [1]
