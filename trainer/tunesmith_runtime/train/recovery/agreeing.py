"""One answer of all workers at the same step, at next to no cost."""

import torch

from tunesmith_runtime.train.leading import PATIENCE


class Agreement:
    """Finds the greatest number that any worker says. Every worker has one, and all ask it at the same steps.

    What they say at a step is known to all at the next: it travels while that step computes, so that nobody waits.
    """

    def __init__(self) -> None:
        self._alone = not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
        self._group: torch.distributed.ProcessGroup | None = None
        self._word = torch.zeros(1, dtype=torch.int64)
        self._underway: torch.distributed.Work | None = None

    def open(self) -> None:
        """Connect the workers. All must call it before the first question, and none is needed for a single worker."""
        if not self._alone:
            self._group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)

    def ask(self, own: int) -> int:
        """Say a number; return the greatest that was said at the last question, or now by a single worker."""
        if self._alone:
            return own
        said = self.close()
        self._say(own)
        return said

    def ask_now(self, own: int) -> int:
        """Say a number and return the greatest that is said now."""
        if self._alone:
            return own
        self.close()
        self._say(own)
        return self.close()

    def close(self) -> int:
        """Wait for what is on its way, before others may go; return what it was."""
        if self._underway is None:
            return 0
        self._underway.wait()
        self._underway = None
        return int(self._word.item())

    def _say(self, own: int) -> None:
        self._word = torch.tensor([own], dtype=torch.int64)
        self._underway = torch.distributed.all_reduce(
            self._word, torch.distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
