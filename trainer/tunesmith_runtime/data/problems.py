"""Several faults of one dataset become one error."""

from tunesmith_runtime.errors import DataError

SHOWN = 5


class Problems:
    """Collects what is wrong with a dataset, place by place; the same fault in many places is said once.

    However many there are, only those that can be shown are kept.
    """

    def __init__(self, uri: str, what: str) -> None:
        """Take the dataset's URI and what a count of places is said to be, such as `lines cannot be read`."""
        self._uri = uri
        self._what = what
        self._count = 0
        self._places: dict[str, list[str]] = {}

    def add(self, place: str, fault: str) -> None:
        """Note a fault."""
        self._count += 1
        if fault in self._places or len(self._places) < SHOWN:
            places = self._places.setdefault(fault, [])
            if len(places) < SHOWN:
                places.append(place)

    def raise_if_any(self, advice: str = "") -> None:
        """Raise DataError with the first faults, their places and the number of places, if there are any."""
        if not self._count:
            return
        shown: list[str] = []
        room = SHOWN
        for fault, places in self._places.items():
            if room <= 0:
                break
            shown.append(f"{', '.join(places[:room])}: {fault}")
            room -= len(places)
        more = self._count - SHOWN
        total = f"{self._count} {self._what}: " if self._count > 1 else ""
        end = f" (and {more} more)" if more > 0 else ""
        raise DataError(f"{self._uri}: {total}{'; '.join(shown)}{end}{advice}")
