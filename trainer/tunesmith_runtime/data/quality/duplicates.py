"""Records whose text came before."""

from tunesmith_runtime.data.quality.texts import texts
from tunesmith_runtime.data.quality.words import digest, normalised
from tunesmith_runtime.data.records import Record

_DIGEST_BYTES = 16


class Duplicates:
    """Remembers the texts of records by a hash of 16 bytes each, about 100 bytes of memory to a record."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def repeats(self, record: Record) -> bool:
        """Tell whether a record with the same texts, case and white space apart, came before; remember it if not."""
        own = digest("\0".join(normalised(text) for text in texts(record)), _DIGEST_BYTES)
        if own in self._seen:
            return True
        self._seen.add(own)
        return False
