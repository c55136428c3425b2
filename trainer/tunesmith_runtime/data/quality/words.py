"""A text as words that can be compared: without case, punctuation and the ways to encode one letter."""

import unicodedata
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import regex

# Scripts that put no spaces between words: each of their letters counts as a word.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_WORD = regex.compile(rf"[{UNSPACED}]\p{{M}}*+|[[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]]++", regex.V1)


def normalised(text: str) -> str:
    """Return the text in compatibility form (NFKC), its case folded and its white space single spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def words(text: str) -> list[str]:
    """Return the words of a text, normalised; punctuation and signs are no words."""
    return _WORD.findall(normalised(text))


def runs(each: Sequence[str], length: int) -> Iterator[str]:
    """Yield every run of `length` words, joined by spaces; nothing when there are fewer."""
    for start in range(len(each) - length + 1):
        yield " ".join(each[start : start + length])


def digest(text: str, size: int) -> bytes:
    """Return a hash of `size` bytes, the same in every process."""
    return blake2b(text.encode(), digest_size=size).digest()
