"""The quality steps, one after the other, over the records of all datasets."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tunesmith_api.data import Quality
from tunesmith_runtime.data.quality.contamination import Contamination
from tunesmith_runtime.data.quality.duplicates import Duplicates
from tunesmith_runtime.data.quality.texts import texts
from tunesmith_runtime.data.records import Record


@dataclass
class QualityCounts:
    """What the steps took out and replaced.

    A record is counted by the first step that leaves it out; replacements are counted in records that are kept, by
    the kind of personal data.
    """

    duplicates: int = 0
    near_duplicates: int = 0
    language: int = 0
    too_short: int = 0
    too_long: int = 0
    contaminated: int = 0
    redacted_records: int = 0
    redactions_by_kind: Counter[str] = field(default_factory=Counter)

    @property
    def redactions(self) -> int:
        """Return the number of replacements of all kinds."""
        return self.redactions_by_kind.total()


class Cleaner:
    """Leaves records out and redacts others, as `data.quality` says; what it remembers goes on over the datasets.

    The order of the steps is fixed. Length and language come first, as they are cheap and see the text as it was
    written. Contamination is looked for before personal data is replaced, since evaluation sets are not redacted.
    Duplicates come last: a record that another step leaves out never stands for its copies, and records that only
    differed in what was replaced become duplicates.
    """

    def __init__(self, quality: Quality, evaluation: Iterable[Record] = ()) -> None:
        """Take the settings and the records of `decontaminateAgainst`; a step that is off costs nothing.

        Raises ConfigError for a language that cannot be told from others.
        """
        # The imports within bring libraries that take seconds.
        self.counts = QualityCounts()
        self._shortest = quality.min_characters
        self._longest = quality.max_characters
        self._languages = None
        if quality.languages:
            from tunesmith_runtime.data.quality.languages import LanguageFilter

            self._languages = LanguageFilter(quality.languages)
        self._contamination = Contamination(quality.decontamination_ngram, evaluation)
        self._redact: Callable[[Record], tuple[Record, Counter[str]]] | None = None
        if quality.redact_pii:
            from tunesmith_runtime.data.quality.redaction import redact

            self._redact = redact
        self._exact = None if quality.deduplicate == "none" else Duplicates()
        self._near = None
        if quality.deduplicate == "near":
            from tunesmith_runtime.data.quality.near_duplicates import NearDuplicates

            self._near = NearDuplicates(quality.near_similarity)

    def clean(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records that are kept, in their order, as they are asked for."""
        for record in records:
            if not self._fits(record):
                continue
            if self._contamination.found_in(record):
                self.counts.contaminated += 1
                continue
            kept, replaced = (record, Counter[str]()) if self._redact is None else self._redact(record)
            if self._repeats(kept):
                continue
            self.counts.redactions_by_kind += replaced
            self.counts.redacted_records += bool(replaced)
            yield kept

    def _fits(self, record: Record) -> bool:
        if self._shortest or self._longest:
            characters = sum(len(text) for text in texts(record))
            if self._shortest and characters < self._shortest:
                self.counts.too_short += 1
                return False
            if self._longest and characters > self._longest:
                self.counts.too_long += 1
                return False
        if self._languages and not self._languages.keeps(record):
            self.counts.language += 1
            return False
        return True

    def _repeats(self, record: Record) -> bool:
        if self._exact and self._exact.repeats(record):
            self.counts.duplicates += 1
            return True
        if self._near and self._near.repeats(record):
            self.counts.near_duplicates += 1
            return True
        return False
