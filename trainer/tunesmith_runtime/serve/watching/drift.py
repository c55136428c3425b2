"""Windows of requests, each compared with the reference."""

from collections.abc import Callable

from tunesmith_api.serving.capture import Capture
from tunesmith_api.serving.watch import Drift, DriftReport
from tunesmith_runtime.serve.watching import reference
from tunesmith_runtime.serve.watching.divergence import Difference, Matrix, discrepancy, profile, stability
from tunesmith_runtime.serve.watching.embedding import embedded
from tunesmith_runtime.serve.watching.reference import CHARACTERS, MOST_TEXTS, Sample

# Embeddings take the engine's time: fewer of them.
_MOST_EMBEDDED = 200


class DriftWatch:
    """Collects what people ask and compares window by window. In memory is a sample of each window alone."""

    def __init__(self, drift: Drift, capture: Capture | None, model: str) -> None:
        self._drift = drift
        self._capture = capture if drift.reference is None else None
        self._model = model
        self._most = MOST_TEXTS if drift.method == "psi" else _MOST_EMBEDDED
        self._window = Sample(self._most)
        self._reference: list[str] | None = None
        self._profiles: list[Matrix] | None = None
        # The reference's embeddings by one revision.
        self._embedded: tuple[int | None, Matrix] | None = None

    def add(self, text: str, engine: str, revision: int | None) -> DriftReport | None:
        """Take a request; return what the window says when it is complete.

        Raises OSError, RunError and NotEmbeddedError; the next window may do better.
        """
        self._window.add(self._redacted(text[:CHARACTERS]))
        if self._window.seen < self._drift.window_requests:
            return None
        window, self._window = self._window, Sample(self._most)
        known = self._known(window)
        if known is None:
            return None
        compare: Callable[[list[str], str, int | None], Difference] = (
            self._by_profiles if self._drift.method == "psi" else self._by_embeddings
        )
        found = compare(window.taken, engine, revision)
        return DriftReport(value=round(found.value, 6), drifted=found.counts(self._drift.limit), requests=window.seen)

    def _redacted(self, text: str) -> str:
        """Return the text as it would be kept, where it is compared with what was kept."""
        if self._capture is None or not self._capture.redact_pii:
            return text
        from tunesmith_runtime.serve.gateway.captured import redacted

        return str(redacted(text))

    def _known(self, window: Sample) -> list[str] | None:
        """Return the reference, None when this window has just become it."""
        if self._reference is not None:
            return self._reference
        if self._drift.reference is not None:
            self._reference = reference.of_records(self._drift.reference)[: self._most]
        elif self._capture is not None:
            self._reference = reference.kept_first(self._capture)
            if self._reference is None:
                reference.keep_first(window.taken, self._capture)
                self._reference = window.taken
                return None
        return self._reference

    def _by_profiles(self, window: list[str], engine: str, revision: int | None) -> Difference:
        self._profiles = self._profiles or [profile(each) for each in self._reference or ()]
        return stability(self._profiles, [profile(each) for each in window])

    def _by_embeddings(self, window: list[str], engine: str, revision: int | None) -> Difference:
        if self._embedded is None or self._embedded[0] != revision:
            self._embedded = (revision, embedded(self._reference or (), engine, self._model))
        return discrepancy(self._embedded[1], embedded(window, engine, self._model))
