"""Tokens become text as they come: whole characters only, and nothing of what may turn out to be a stop string."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

# What decoding puts in the place of bytes that are no character yet. A character has four bytes at most.
_HALF = "\ufffd"
_MOST_HALVES = 3


class Writer:
    """The text of one answer. What it has given is never taken back."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = (), *, keeps_special: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self._skips_special = not keeps_special
        self._stops = tuple(stops)
        self._tokens: list[int] = []
        # Tokens from `_start` on are decoded again with each new one, as a token's text may depend on the one before;
        # of that text, the first `_seen` characters are in `_text`.
        self._start = self._read = self._seen = 0
        self._text = ""
        self.given = 0
        self.stopped = False

    @property
    def length(self) -> int:
        """How many characters there are, given or held back."""
        return len(self._text)

    def add(self, token: int) -> str:
        """Take a token; return what is certain to be the next text."""
        self._tokens.append(token)
        window = self._decoded(self._start)
        held = len(window) - len(window.rstrip(_HALF))
        whole = window[: len(window) - min(held, _MOST_HALVES)]
        self._text += whole[self._seen :]
        self._seen = max(self._seen, len(whole))
        if not held:
            self._start, self._read = self._read, len(self._tokens)
            self._seen = len(self._decoded(self._start))
        return self._certain()

    def end(self) -> str:
        """Return what is left when no more tokens come."""
        text = ""
        if not self.stopped:
            window = self._decoded(self._start)
            self._text += window[self._seen :]
            self._seen = len(window)
            text = self._certain()
        text += self._text[self.given :]
        self.given = len(self._text)
        return text

    def _decoded(self, start: int) -> str:
        return str(
            self._tokenizer.decode(
                self._tokens[start:], skip_special_tokens=self._skips_special, clean_up_tokenization_spaces=False
            )
        )

    def _certain(self) -> str:
        """Return more of the text, without what may be the beginning of a stop string; end it before a whole one."""
        longest = max(map(len, self._stops), default=0)
        begin = max(0, self.given - longest)
        found = [place for stop in self._stops if (place := self._text.find(stop, begin)) >= 0]
        if found:
            self.stopped = True
            self._text = self._text[: max(min(found), self.given)]
            end = len(self._text)
        else:
            end = len(self._text) - self._begun()
        text = self._text[self.given : end]
        self.given = max(self.given, end)
        return text

    def _begun(self) -> int:
        """Return how many characters at the end may begin a stop string."""
        return max(
            (
                length
                for stop in self._stops
                for length in range(1, min(len(stop), len(self._text) + 1))
                if self._text.endswith(stop[:length])
            ),
            default=0,
        )
