"""A clock that is set by an hour does not make an hour pass."""

from datetime import UTC, datetime, timedelta

from tunesmith_operator.clock import SteadyClock

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Machine:
    """A machine whose clock can be set."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.off = timedelta()
        self.clock = SteadyClock(lambda: NOON + timedelta(seconds=self.seconds) + self.off, lambda: self.seconds)

    def after(self, seconds: float) -> timedelta:
        self.seconds += seconds
        return self.clock() - NOON


def test_it_goes_with_the_machines_clock() -> None:
    machine = Machine()
    assert [machine.after(60) for _ in range(3)] == [timedelta(minutes=minutes) for minutes in (1, 2, 3)]


def test_what_is_a_little_off_is_put_right_at_once() -> None:
    machine = Machine()
    machine.off = timedelta(seconds=2)
    assert machine.after(60) == timedelta(seconds=62)


def test_a_leap_is_made_up_for_little_by_little() -> None:
    machine = Machine()
    machine.off = timedelta(hours=1)
    assert machine.after(60) == timedelta(seconds=66)
    assert machine.after(36_000) > timedelta(hours=11)


def test_it_never_goes_back() -> None:
    machine = Machine()
    machine.off = -timedelta(days=365)
    times = [machine.after(10) for _ in range(5)]
    assert times == sorted(times)
    assert times[-1] == timedelta(seconds=45)
