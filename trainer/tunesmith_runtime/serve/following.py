"""Files that change while a server runs: read when they do, by whoever takes them up."""

import asyncio
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.2

Take = Callable[[bytes], None]
# What identifies the state of a file; a mounted Secret or ConfigMap is a link that leads somewhere else each time.
Stamp = tuple[int, int, int]


class FollowedFile:
    """A file whose contents are handed on whenever it has changed; while it is away, nothing is."""

    def __init__(self, path: Path, take: Take) -> None:
        self._path = path
        self._take = take
        self._stamp: Stamp | None = None

    def look(self) -> None:
        """Hand on the contents if the file has changed."""
        try:
            stamp = self._stamped()
            if stamp == self._stamp:
                return
            contents = self._path.read_bytes()
        except OSError:
            return
        self._stamp = stamp
        self._take(contents)

    def _stamped(self) -> Stamp:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(POLL_SECONDS)
