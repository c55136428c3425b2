"""What a running shell shows: progress bars on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol, TextIO

from tunesmith_api.meta import Reference
from tunesmith_operator.local.activity import Activity
from tunesmith_operator.planner import Event

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY = timedelta(seconds=10)


class Display(Protocol):
    """Shows what goes on."""

    def event(self, of: Reference, event: Event) -> None:
        """Show a transition of a resource."""

    def say(self, text: str) -> None:
        """Show a text."""

    def activities(self, current: Sequence[Activity]) -> None:
        """Show what runs now; called at every tick."""

    def close(self) -> None:
        """Show no more activities; texts still come."""


def for_stream(stream: TextIO, clock: Callable[[], datetime]) -> Display:
    """Return the display that fits a stream. `clock` gives the time, with a time zone."""
    return BarDisplay(stream, clock) if stream.isatty() else LineDisplay(stream, clock)


def event_line(of: Reference, event: Event) -> str:
    """Return a transition as a line."""
    return f"{of}: {event.reason}: {event.message}"


class LineDisplay:
    """Plain lines: one per event, and one per running workload every 10 s at most."""

    def __init__(self, stream: TextIO, clock: Callable[[], datetime]) -> None:
        self._stream = stream
        self._clock = clock
        self._told: dict[Reference, tuple[datetime, Activity]] = {}

    def event(self, of: Reference, event: Event) -> None:
        """Print the event."""
        self.say(event_line(of, event))

    def say(self, text: str) -> None:
        """Print the text."""
        print(text, file=self._stream, flush=True)

    def activities(self, current: Sequence[Activity]) -> None:
        """Print a line for each activity that has changed since its last line, if that is 10 s ago."""
        now = self._clock()
        for activity in current:
            before = self._told.get(activity.of)
            if before is None or (before[1] != activity and now - before[0] >= LINE_EVERY):
                self._told[activity.of] = (now, activity)
                if before is not None:
                    self.say(f"{activity.of}: {activity.text(now)}")

    def close(self) -> None:
        """Forget the activities."""
        self._told.clear()


class BarDisplay:
    """One progress bar per running workload, with the events above. Draws in the caller's thread."""

    def __init__(self, stream: TextIO, clock: Callable[[], datetime]) -> None:
        self._stream = stream
        self._clock = clock
        self._progress: Progress | None = None
        self._bars: dict[Reference, TaskID] = {}

    def event(self, of: Reference, event: Event) -> None:
        """Print the event above the bars."""
        self.say(event_line(of, event))

    def say(self, text: str) -> None:
        """Print the text above the bars."""
        if self._progress is None:
            print(text, file=self._stream, flush=True)
        else:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def activities(self, current: Sequence[Activity]) -> None:
        """Draw a bar for each activity."""
        if self._progress is None:
            if not current:
                return
            self._progress = self._started()
        now = self._clock()
        for gone in set(self._bars) - {activity.of for activity in current}:
            self._progress.remove_task(self._bars.pop(gone))
        for activity in current:
            if activity.of not in self._bars:
                self._bars[activity.of] = self._progress.add_task(str(activity.of), text="", total=None)
            self._progress.update(
                self._bars[activity.of],
                completed=activity.done,
                total=activity.total or None,
                text=activity.text(now),
            )
        self._progress.refresh()

    def _started(self) -> "Progress":
        # Imported here because `get` and its like need no bars, and rich is slow to import.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
            console=Console(file=self._stream),
            # A thread that draws would be there while children are forked.
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        progress.start()
        return progress

    def close(self) -> None:
        """Take the bars away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._bars.clear()


def standard(clock: Callable[[], datetime]) -> Display:
    """Return the display for standard output."""
    return for_stream(sys.stdout, clock)
