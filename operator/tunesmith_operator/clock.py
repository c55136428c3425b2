"""The time of day without leaps, for decisions that depend on how much of it has passed."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# Of the time that passes, how much a clock that was set may catch up with or fall behind.
SLEW = 0.1


class SteadyClock:
    """Follows the clock of the machine, but no faster than time passes, and never back.

    A clock that is set by an hour would otherwise end jobs that are not overdue and double delays. What is off is made
    up for little by little: `SLEW` of the time that passes.
    """

    def __init__(
        self,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        # Goes on while the machine sleeps.
        seconds: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        """`seconds` never goes back, and counts from anywhere."""
        self._wall = wall
        self._seconds = seconds
        self._last = wall()
        self._at = seconds()

    def __call__(self) -> datetime:
        """Return the time, with a time zone."""
        at = self._seconds()
        passed = timedelta(seconds=at - self._at)
        steady = self._last + passed
        most = passed * SLEW
        self._last = steady + max(-most, min(most, self._wall() - steady))
        self._at = at
        return self._last
