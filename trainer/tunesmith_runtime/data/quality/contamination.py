"""Training records that hold what a model will be evaluated on are left out."""

from collections import Counter
from collections.abc import Iterable, Iterator

from tunesmith_runtime.data.quality.texts import texts
from tunesmith_runtime.data.quality.words import digest, runs, words
from tunesmith_runtime.data.records import Record

# An evaluation text with fewer words is too common to betray anything.
MIN_WORDS = 8
# A run of words in more evaluation records than this is the frame around the questions, not one of them.
FRAME_RECORDS = 50

_DIGEST_BYTES = 8


class Contamination:
    """Finds runs of words that training records share with evaluation records.

    The rule is that of GPT-3 (Brown et al. 2020, appendix C): texts are compared as words without case and
    punctuation, and one shared run of N words is an overlap, N being 13 there and by default here. As there, shorter
    evaluation texts count from 8 words on, when they stand whole in a training text. Runs do not go over the end of a
    text. System messages of the evaluation and runs that more than 50 evaluation records share are the same for all
    questions and say nothing about one, so they are not compared.
    """

    def __init__(self, ngram: int, evaluation: Iterable[Record]) -> None:
        """Take the number of words in a run and the evaluation records."""
        records_with: Counter[tuple[int, bytes]] = Counter()
        for record in evaluation:
            records_with.update(set(_runs(record, ngram)))
        self._runs: dict[int, set[bytes]] = {}
        for (length, run), records in records_with.items():
            if records <= FRAME_RECORDS:
                self._runs.setdefault(length, set()).add(run)

    def found_in(self, record: Record) -> bool:
        """Tell whether a training record overlaps with an evaluation record."""
        if not self._runs:
            return False
        for text in texts(record):
            spoken = words(text)
            for length, known in self._runs.items():
                if any(digest(run, _DIGEST_BYTES) in known for run in runs(spoken, length)):
                    return True
        return False


def _runs(record: Record, ngram: int) -> Iterator[tuple[int, bytes]]:
    for text in texts(record, system=False):
        spoken = words(text)
        length = min(ngram, len(spoken))
        if length == ngram or length >= MIN_WORDS:
            for run in runs(spoken, length):
                yield length, digest(run, _DIGEST_BYTES)
