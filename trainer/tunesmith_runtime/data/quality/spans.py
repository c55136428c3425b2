"""Parts of a text that are replaced, and where the rest of it goes."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Span:
    """The characters from `start` up to `end`, and what they are: EMAIL_ADDRESS."""

    start: int
    end: int
    kind: str

    @property
    def placeholder(self) -> str:
        """Return what stands in their place."""
        return f"[{self.kind}]"


class Edited:
    """A text with its spans, which do not overlap, replaced."""

    def __init__(self, text: str, spans: Sequence[Span]) -> None:
        self._spans = sorted(spans)
        parts: list[str] = []
        at = 0
        for span in self._spans:
            parts += [text[at : span.start], span.placeholder]
            at = span.end
        self.text = "".join([*parts, text[at:]])

    def moved(self, start: int, end: int) -> tuple[int, int]:
        """Return where the characters from `start` up to `end` of the old text are in the new one.

        What was replaced in part is taken in as a whole.
        """
        return self._new(start, 0), self._new(end, 1)

    def _new(self, position: int, side: int) -> int:
        shift = 0
        for span in self._spans:
            if position >= span.end:
                shift += len(span.placeholder) - (span.end - span.start)
            elif position > span.start or (position == span.start and side == 0):
                return span.start + shift + side * len(span.placeholder)
            else:
                break
        return position + shift
