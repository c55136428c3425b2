"""How many samples a model works on at once."""

import gc
from collections.abc import Callable, Sequence

import torch
from accelerate.utils.memory import should_reduce_batch_size

# A processor gains nothing from more, and has no room for them; a GPU that has too little memory says so.
TOKENS_ON_CPU = 4096
TOKENS_ON_GPU = 32768


class Batching:
    """Puts samples of like length together: a fixed number of them, or as many as make up a number of tokens.

    When memory does not suffice there are half as many at once from then on.
    """

    def __init__(self, rows: int | None, device: torch.device) -> None:
        """Take the number of samples, or None to go by tokens."""
        self.rows = rows
        self.tokens = TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU

    def run(self, lengths: Sequence[int], work: Callable[[list[int]], None]) -> None:
        """Call `work` with the indices of samples until all are done, the longest first.

        `lengths` are in tokens, those that are still to be generated included. Raises what `work` raises; that memory
        does not suffice only when it does not suffice for a single sample.
        """
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        while order:
            batch = order[: self._size(lengths[order[0]])]
            try:
                work(batch)
            except Exception as error:
                if len(batch) == 1 or not should_reduce_batch_size(error):
                    raise
            else:
                del order[: len(batch)]
                continue
            # Only here, where the error and all that it holds are gone.
            self._halve(len(batch))
            gc.collect()
            torch.cuda.empty_cache()

    def _size(self, longest: int) -> int:
        return self.rows or max(1, self.tokens // max(longest, 1))

    def _halve(self, tried: int) -> None:
        if self.rows:
            self.rows = max(1, tried // 2)
        else:
            self.tokens //= 2
