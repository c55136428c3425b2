"""How many samples a model works on at once."""

import gc
from collections.abc import Callable, Iterator, Sequence

import torch
from accelerate.utils.memory import should_reduce_batch_size

# A processor gains nothing from more, and has no room for them; a GPU that has too little memory says so.
TOKENS_ON_CPU = 2048
TOKENS_ON_GPU = 32768
# Of samples that are being answered each step computes one token only, so that there can be more of them.
ANSWERED_ON_CPU = 8192
# Where samples are read, not answered, padding costs as much as tokens do: no more than this share of a batch, unless
# it is a small one, which would not keep the device busy.
PADDING = 0.1
SMALL = 8  # a batch of this fraction of the tokens


class Batching:
    """Puts samples of like length together: a fixed number of them, or as many as make up a number of tokens.

    When memory does not suffice there are half as many at once from then on.
    """

    def __init__(self, rows: int | None, device: torch.device) -> None:
        """Take the number of samples, or None to go by tokens."""
        self.rows = rows
        self.tokens, self.answered = TOKENS_ON_GPU, TOKENS_ON_GPU
        if device.type == "cpu":
            self.tokens, self.answered = TOKENS_ON_CPU, ANSWERED_ON_CPU

    def run(self, lengths: Sequence[int], work: Callable[[list[int]], None], *, answered: bool = False) -> None:
        """Call `work` with the indices of samples until all are done, the longest first.

        `lengths` are in tokens, those that are still to be generated included where samples are `answered`. Samples
        that are only read are not put together with others of unlike length. Raises what `work` raises; that memory
        does not suffice only when it does not suffice for a single sample.
        """
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        start = 0
        while start < len(order):
            left = [lengths[index] for index in order[start:]]
            batch = order[start : start + self._size(left, answered)]
            try:
                work(batch)
            except Exception as error:
                if len(batch) == 1 or not should_reduce_batch_size(error):
                    raise
            else:
                start += len(batch)
                continue
            # Only here, where the error and all that it holds are gone.
            self._halve(len(batch))
            gc.collect()
            torch.cuda.empty_cache()

    def split(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield the indices of samples that are read together, the longest first, of a batch that is answered."""
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        while order:
            size = self._size([lengths[index] for index in order], answered=False)
            yield order[:size]
            order = order[size:]

    def _size(self, lengths: Sequence[int], answered: bool) -> int:
        """Return how many of the samples, the longest first, are worked on at once."""
        if self.rows:
            return self.rows
        longest = max(lengths[0], 1)
        if answered:
            return max(1, self.answered // longest)
        most = max(1, self.tokens // longest)
        real = 0
        for count, length in enumerate(lengths[:most]):
            real += length
            computed = (count + 1) * longest
            if computed > self.tokens // SMALL and real < (1 - PADDING) * computed:
                return max(count, 1)
        return most

    def _halve(self, tried: int) -> None:
        if self.rows:
            self.rows = max(1, tried // 2)
        else:
            self.tokens, self.answered = max(1, self.tokens // 2), max(1, self.answered // 2)
