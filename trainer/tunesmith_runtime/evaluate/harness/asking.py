"""How many samples are done, as a model works through requests: a sample may make several of them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from lm_eval.api.instance import Instance

from tunesmith_runtime.evaluate.respondent import Progress

_Sample = tuple[str | None, int | None]


class Asked:
    """Tells a progress of each sample whose last request is done, and remembers what a model failed of."""

    def __init__(self, progress: Progress) -> None:
        """Take what is called with the number of samples that have just been done."""
        self.failure: Exception | None = None
        self._progress = progress
        self._samples: list[_Sample] = []
        self._done: set[_Sample] = set()

    @contextmanager
    def of(self, requests: Sequence[Instance], pieces: Sequence[int] | None = None) -> Iterator[None]:
        """Work through requests, or through `pieces` of them: for each, the index of its request.

        All their samples count as done afterwards. What fails is remembered.
        """
        samples = [(request.task_name, request.doc_id) for request in requests]
        self._samples = samples if pieces is None else [samples[index] for index in pieces]
        try:
            yield
        except Exception as error:
            self.failure = error
            raise
        self._finish(samples)

    def counter(self, keys: Sequence[str]) -> Callable[[Iterable[str]], None]:
        """Return what is to be called with keys of answers once they are known.

        `keys` belong to the requests, or to their pieces, in order; one key may answer several.
        """
        left = Counter(self._samples)
        answered: defaultdict[str, list[_Sample]] = defaultdict(list)
        for key, sample in zip(keys, self._samples, strict=True):
            answered[key].append(sample)

        def done(found: Iterable[str]) -> None:
            finished: list[_Sample] = []
            for key in found:
                for sample in answered.pop(key, ()):
                    left[sample] -= 1
                    if not left[sample]:
                        finished.append(sample)
            self._finish(finished)

        return done

    def _finish(self, samples: Iterable[_Sample]) -> None:
        new = dict.fromkeys(sample for sample in samples if sample not in self._done)
        self._done |= new.keys()
        if new:
            self._progress(len(new))
