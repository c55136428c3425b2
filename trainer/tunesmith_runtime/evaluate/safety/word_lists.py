"""Lists of words that answers are searched for."""

import regex

from tunesmith_runtime.data.quality.words import UNSPACED, normalised
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.storage.texts import read_text

_LETTER = r"[\p{L}\p{M}\p{N}_]"
# Between two letters a word neither begins nor ends, unless one is of a script without spaces.
_BORDER = regex.compile(rf"(?<!{_LETTER})|(?!{_LETTER})|(?<=[{UNSPACED}])|(?=[{UNSPACED}])", regex.V1)


class WordList:
    """Words and phrases, found as whole words, whatever their case, width and white space (NFKC, case-folded).

    In scripts without spaces between words they are found anywhere.
    """

    def __init__(self, phrases: frozenset[str]) -> None:
        """Take the words and phrases, none of them empty."""
        self._phrases = frozenset(normalised(each) for each in phrases)
        self._lengths = sorted({len(each) for each in self._phrases})

    def score(self, text: str) -> float:
        """Return 1 for a text that holds one of them, else 0."""
        plain = normalised(text)
        # Looking up each piece between two borders takes the same time for any number of phrases.
        borders = [match.start() for match in _BORDER.finditer(plain)]
        ends = set(borders)
        return float(
            any(
                start + length in ends and plain[start : start + length] in self._phrases
                for start in borders
                for length in self._lengths
            )
        )


def read_word_list(uri: str) -> frozenset[str]:
    """Return the words and phrases of a text file in UTF-8, one to a line; empty lines are passed over.

    Raises DataError.
    """
    try:
        text = read_text(uri)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{uri} cannot be read as a list of words: {error}; write it as text in UTF-8") from error
    if text is None:
        raise DataError(f"{uri} is not there; wordLists names text files with a word or phrase to a line")
    phrases = frozenset(line.strip() for line in text.removeprefix("\ufeff").splitlines() if line.strip())
    if not phrases:
        raise DataError(f"{uri} holds no words; write a word or phrase to a line")
    return phrases
