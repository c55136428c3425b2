"""Answers in which something is to be found: a pattern, or a number."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import regex

from tunesmith_api.suites.golden import Tolerance
from tunesmith_runtime.errors import ConfigError

# How long a pattern may look at one answer.
SECONDS = 5.0
# A sign belongs to a number unless a word or a number stands before it: the last number of "5-3" is 3. Thousands are
# parted by commas, as in English.
_NUMBER = regex.compile(
    r"(?:(?<![\w.,)])[-+\u2212])?"
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?<!\d)(?=\.\d))"
    r"(?:\.\d+)?"
    r"(?:[eE][-+]?\d{1,3}(?!\d))?"
)


def finds(pattern: str) -> Callable[[str], float]:
    """Return a function that says 1 of an answer in which the pattern is found anywhere, else 0.

    It raises ConfigError when that takes forever.
    """
    compiled = regex.compile(pattern)

    def found(answer: str) -> float:
        try:
            return float(compiled.search(answer, timeout=SECONDS) is not None)
        except TimeoutError as error:
            raise ConfigError(
                f"regex looked for more than {SECONDS:g} s at an answer of {len(answer)} characters; write it without "
                "repetitions inside of repetitions"
            ) from error

    return found


def last_number(text: str) -> Decimal | None:
    """Return the last number in a text, None when there is none. Digits may be of any script."""
    found = _NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "").replace("\u2212", "-")) if found else None


def numeric(tolerance: Tolerance) -> Callable[[str, Sequence[str]], float]:
    """Return a function that says 1 of an answer whose last number is near that of a reference, else 0.

    Near is |answer - reference| <= absolute + relative x |reference|, numpy's isclose in exact decimals.
    """
    absolute, relative = Decimal(str(tolerance.absolute)), Decimal(str(tolerance.relative))

    def near(answer: str, references: Sequence[str]) -> float:
        found = last_number(answer)
        wanted = [number for number in map(last_number, references) if number is not None]
        return float(found is not None and any(abs(found - each) <= absolute + relative * abs(each) for each in wanted))

    return near
