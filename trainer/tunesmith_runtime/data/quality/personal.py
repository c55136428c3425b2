"""Where personal data stands in a text."""

import unicodedata
from functools import lru_cache

import phonenumbers
import regex

from tunesmith_runtime.data.quality.patterns import PATTERNS, PHONE_WORDS, Pattern
from tunesmith_runtime.data.quality.spans import Span
from tunesmith_runtime.data.quality.words import UNSPACED

PHONE_NUMBER = "PHONE_NUMBER"
# Countries whose numbers are recognised as they are dialled at home; with + and the country's code all are.
PHONE_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "BR", "CN", "JP")

_CONTEXT = 40  # characters before a number in which a word may say what it is
_MIN_DIGITS = 7
_TAKEN = "\N{OBJECT REPLACEMENT CHARACTER}"  # neither a letter nor a digit nor a space

_NOT_ASCII = regex.compile(r"[^\x00-\x7f]")
_DIGIT = regex.compile(r"\d")
_UNSPACED = regex.compile(rf"[{UNSPACED}\p{{Hangul}}]", regex.V1)
_ROW = regex.compile(r"[+(]*+\d[\d+()./ \u2010-\u2013-]*+")
_GROUP = regex.compile(r"\d+")
_DIGITS_A_GROUP = 1.8  # in a telephone number, at least; in a table of numbers there may be fewer
_BESIDE = 3  # characters after a row that can tell that it is a date and a time
_TRIES = 100
_THOUSANDS = regex.compile(r"[1-9]\d?(?:[ .]\d{3})+|[1-9]\d{2}(?:[ .]000)+")
_ISBN = regex.compile(r"\d-\d{1,7}-\d{1,7}-[\dX]")
_GROUPED = regex.compile(r"\+|\d\D+\d")


@lru_cache(maxsize=256)  # of one record, which is asked for several times, and of contexts that many share
def personal_data(text: str) -> tuple[Span, ...]:
    """Return the personal data of a text in its order; no two overlap.

    E-mail, IP and MAC addresses, card and account numbers, addresses of crypto currencies and national numbers are
    told by their shape and, where they have one, their checksum (python-stdnum), telephone numbers by the numbering
    plans of libphonenumber. Where a shape alone says too little, as with a bare row of digits, one of the words that
    name it must stand before. Names and postal addresses have no shape and are not found. Nothing is looked up
    anywhere, and the same text gives the same result.
    """
    plain = _plain(text)
    # Letters of scripts without spaces stand right beside what is looked for, and are no part of it.
    searched = _UNSPACED.sub(" ", plain)
    digits = len(_DIGIT.findall(searched))
    spans: list[Span] = []
    for pattern in PATTERNS:
        if digits < pattern.min_digits or pattern.sign not in searched:
            continue
        found = _matches(pattern, searched, plain)
        searched = _without(searched, found)
        spans += found
    if digits >= _MIN_DIGITS:
        spans += _phone_numbers(searched, plain)
    return tuple(sorted(spans))


def _matches(pattern: Pattern, searched: str, plain: str) -> list[Span]:
    spans: list[Span] = []
    end = 0
    for match in pattern.shape.finditer(searched, overlapped=True):
        if match.start() < end:
            continue
        part = _valid_part(pattern, match[0])
        if part and (pattern.named_by is None or _named(pattern.named_by, plain, match.start())):
            end = match.start() + len(part)
            spans.append(Span(match.start(), end, pattern.kind))
    return spans


def _valid_part(pattern: Pattern, candidate: str) -> str:
    """Return the longest beginning of the candidate that is valid and ends where a group of letters or digits does."""
    for end in range(len(candidate), 0, -1):
        ends_group = end == len(candidate) or (candidate[end - 1].isalnum() and not candidate[end].isalnum())
        if ends_group and pattern.valid(candidate[:end]):
            return candidate[:end]
    return ""


def _phone_numbers(searched: str, plain: str) -> list[Span]:
    """Search row by row of digits: libphonenumber takes seconds for a long table of numbers and then gives up on it."""
    spans: list[Span] = []
    for row in _ROW.finditer(searched):
        groups = _GROUP.findall(row[0])
        digits = sum(map(len, groups))
        if digits < _MIN_DIGITS or digits < _DIGITS_A_GROUP * len(groups):
            continue
        # A letter right beside a row tells that it is no number.
        offset = max(row.start() - 1, 0)
        text = searched[offset : row.end() + _BESIDE]
        for region in PHONE_REGIONS:
            found = [
                Span(offset + match.start, offset + match.end, PHONE_NUMBER)
                for match in phonenumbers.PhoneNumberMatcher(text, region, phonenumbers.Leniency.VALID, _TRIES)
                if _is_phone(match.raw_string) or _named(PHONE_WORDS, plain, offset + match.start)
            ]
            spans += found
            text = _without(text, [Span(span.start - offset, span.end - offset, span.kind) for span in found])
    return spans


def _is_phone(number: str) -> bool:
    return bool(_GROUPED.search(number)) and not (_THOUSANDS.fullmatch(number) or _ISBN.fullmatch(number))


def _named(words: regex.Pattern[str], plain: str, start: int) -> bool:
    return words.search(plain, max(start - _CONTEXT, 0), start) is not None


def _without(text: str, spans: list[Span]) -> str:
    for span in spans:
        text = text[: span.start] + _TAKEN * (span.end - span.start) + text[span.end :]
    return text


def _plain(text: str) -> str:
    """Return the text with full-width and other compatible forms as plain ones, each character in its place."""
    return text if text.isascii() else _NOT_ASCII.sub(lambda match: _plain_character(match[0]), text)


@lru_cache(maxsize=4096)
def _plain_character(character: str) -> str:
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character
