"""How many tokens an answer has: by its own account, else by its chunks."""

import json
import re
from collections.abc import Mapping
from typing import Any

# How much of an answer is kept for those who want to see it.
KEPT_BYTES = 1024 * 1024
# The start of what nobody ends: then it is no stream of events.
_LONGEST_EVENT = 1024 * 1024
_TEXT = re.compile(rb'"(?:content|text|reasoning_content|reasoning|arguments)":\s*"(?!")')
_USAGE = re.compile(rb'"usage":\s*\{')
_SEPARATOR = re.compile(rb"\r?\n\r?\n")
# Rough, and only where nothing better is known.
BYTES_A_TOKEN = 4


class Tally:
    """Looks at an answer as it goes by. Whether what it has seen is kept is `keep`."""

    def __init__(self, prompt_bytes: int, *, keep: bool) -> None:
        self._prompt_bytes = prompt_bytes
        self._keep = keep
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._rest = b""
        self._chunks = 0
        self._usage: Mapping[str, Any] = {}
        self._earlier = {"prompt_tokens": 0, "completion_tokens": 0}
        self.truncated = False

    def event_bytes(self, part: bytes) -> None:
        """Take a part of a stream of events."""
        self._note(part)
        seen = self._rest + part
        *events, self._rest = _SEPARATOR.split(seen) if b"\r" in seen else seen.split(b"\n\n")
        if len(self._rest) > _LONGEST_EVENT:
            self._rest = b""
        for event in events:
            if _TEXT.search(event):
                self._chunks += 1
            if _USAGE.search(event):
                self._take_usage(event.removeprefix(b"data:"))

    def whole_bytes(self, part: bytes) -> None:
        """Take a part of an answer that comes in one piece."""
        self._note(part)

    def whole(self, body: bytes) -> None:
        """Take an answer that came in one piece."""
        self._note(body)
        if _USAGE.search(body):
            self._take_usage(body)

    def next_round(self) -> None:
        """Take another answer from here on: what came before was not for the client, but counts as tokens."""
        self._earlier = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
        self._kept, self._kept_bytes, self._rest, self._chunks, self._usage = [], 0, b"", 0, {}

    @property
    def prompt_tokens(self) -> int:
        """The prompt's tokens."""
        return self._count("prompt_tokens", self._prompt_bytes // BYTES_A_TOKEN)

    @property
    def completion_tokens(self) -> int:
        """The answer's tokens."""
        return self._count("completion_tokens", self._chunks)

    @property
    def kept(self) -> bytes:
        """What was kept of the answer."""
        return b"".join(self._kept)

    def _note(self, part: bytes) -> None:
        if not self._keep:
            return
        if self._kept_bytes + len(part) > KEPT_BYTES:
            self._keep, self.truncated = False, True
            return
        self._kept_bytes += len(part)
        self._kept.append(part)

    def _take_usage(self, text: bytes) -> None:
        try:
            usage = json.loads(text)["usage"]
        except (ValueError, KeyError, TypeError):
            return
        if isinstance(usage, Mapping):
            self._usage = usage

    def _count(self, name: str, otherwise: int) -> int:
        value = self._usage.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            value = otherwise
        return self._earlier[name] + value
