"""What an error in the middle of the work means for those who wait for it."""

import gc
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

import torch
from accelerate.utils.memory import should_reduce_batch_size

from tunesmith_runtime.errors import AcceleratorFailedError
from tunesmith_runtime.serve.engine.answers import Answer
from tunesmith_runtime.serve.engine.refusals import Refusal, unavailable


@contextmanager
def failing(answers: Sequence[Answer]) -> Iterator[list[Exception]]:
    """Tell those who wait for `answers` when something fails, and go on; the list given then holds the error.

    Raises AcceleratorFailedError: nothing can be computed any more.
    """
    trouble: list[Exception] = []
    try:
        yield trouble
    except Exception as error:
        for asked in {id(answer.asked): answer.asked for answer in answers if answer.finish is None}.values():
            asked.tell(told(error))
            asked.give_up()
        if not _of_memory(error) and (lost := AcceleratorFailedError.caused_by(error)):
            raise lost from error
        traceback.print_exception(error)
        trouble.append(error)
    if trouble:
        # Only here, where what the error held is gone.
        trouble[0].__traceback__ = None
        gc.collect()
        torch.cuda.empty_cache()


def told(error: Exception) -> Refusal:
    """Return what a client is told of an error in the middle of the work."""
    if _of_memory(error):
        return unavailable("there is too little memory for this request beside the others; ask again in a moment")
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"the model failed: {type(error).__name__}: {error}"[:500])


def _of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(should_reduce_batch_size(error))
