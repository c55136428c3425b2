"""Records that say nearly the same as an earlier one."""

from dataclasses import dataclass

from datasketch import MinHash, MinHashLSH

from tunesmith_runtime.data.quality.texts import telling, texts, verdict
from tunesmith_runtime.data.quality.words import normalised, runs, words
from tunesmith_runtime.data.records import Record

SHINGLE_WORDS = 5
PERMUTATIONS = 128
_SEED = 1
# A pair that is just as similar as asked for must be found with at least this probability.
_RECALL = 0.95


@dataclass(frozen=True)
class _Sketch:
    whole: MinHash
    telling: MinHash | None
    verdict: object

    def resembles(self, other: "_Sketch", similarity: float) -> bool:
        if self.verdict != other.verdict or self.whole.jaccard(other.whole) < similarity:
            return False
        if self.telling is None or other.telling is None:
            return self.telling is other.telling
        return bool(self.telling.jaccard(other.telling) >= similarity)


class NearDuplicates:
    """MinHash with locality-sensitive hashing (Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3).

    A text is the set of its runs of 5 words; letters of scripts without spaces count as words, and a text of fewer
    words is one run. Records are near duplicates when the Jaccard similarity of these sets, estimated from 128
    hashes (standard error below 0.045), reaches the one asked for: that of all their texts, and that of their answers
    alone (of the questions, for questions on a context). So records that share a long prompt or context but not the
    answer stay apart, and so do texts with different labels. About 5 kB of memory to a record that is kept.
    """

    def __init__(self, similarity: float) -> None:
        """Take the similarity, from 0.5 to 1, from which records are duplicates."""
        self._similarity = similarity
        self._empty = MinHash(PERMUTATIONS, seed=_SEED)
        self._index = MinHashLSH(num_perm=PERMUTATIONS, params=bands(similarity))
        self._kept: list[_Sketch] = []

    def repeats(self, record: Record) -> bool:
        """Tell whether a record is nearly the same as one that came before; remember it if not."""
        tells = telling(record)
        own = _Sketch(self._sketch(*texts(record)), None if tells is None else self._sketch(tells), verdict(record))
        if any(own.resembles(self._kept[key], self._similarity) for key in self._index.query(own.whole)):
            return True
        self._index.insert(len(self._kept), own.whole, check_duplication=False)
        self._kept.append(own)
        return False

    def _sketch(self, *parts: str) -> MinHash:
        shingles = {shingle for part in parts for shingle in _shingles(part)}
        sketch = self._empty.copy()
        sketch.update_batch([shingle.encode() for shingle in sorted(shingles)])
        return sketch


def bands(similarity: float) -> tuple[int, int]:
    """Return the number of bands and the hashes in each.

    The longest bands, which give the fewest pairs to compare, of those by which a pair of that similarity is found
    with a probability of 0.95.
    """
    choices = [(PERMUTATIONS // rows, rows) for rows in range(PERMUTATIONS // 2, 0, -1)]
    return next((count, rows) for count, rows in choices if 1 - (1 - similarity**rows) ** count >= _RECALL)


def _shingles(text: str) -> set[str]:
    spoken = words(text)
    if len(spoken) >= SHINGLE_WORDS:
        return set(runs(spoken, SHINGLE_WORDS))
    return {" ".join(spoken) or normalised(text)}
