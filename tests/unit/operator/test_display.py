"""What a running shell prints where there is no terminal."""

import io
from datetime import UTC, datetime, timedelta

from tunesmith_api.meta import Reference
from tunesmith_operator.local.activity import Activity
from tunesmith_operator.local.display import for_stream
from tunesmith_operator.planner import Event

BOT = Reference(kind="FineTuneJob", name="bot")
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_each_event_is_a_line_and_progress_is_one_every_ten_seconds() -> None:
    screen, now = io.StringIO(), [START]
    display = for_stream(screen, lambda: now[0])

    display.event(BOT, Event("Normal", "Starting", "attempt 1 is starting"))
    for second in range(25):
        now[0] = START + timedelta(seconds=second)
        display.activities([Activity(BOT, "training", "step", second, 60, ("loss 2.000",))])
    display.close()

    assert screen.getvalue().splitlines() == [
        "FineTuneJob bot: Starting: attempt 1 is starting",
        "FineTuneJob bot: step 10/60, loss 2.000",
        "FineTuneJob bot: step 20/60, loss 2.000",
    ]


def test_a_run_that_stands_still_is_not_told_again() -> None:
    screen, now = io.StringIO(), [START]
    display = for_stream(screen, lambda: now[0])
    for second in range(0, 60, 5):
        now[0] = START + timedelta(seconds=second)
        display.activities([Activity(BOT, "loading the model")])
    assert screen.getvalue() == ""
