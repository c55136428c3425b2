"""Elastic runs: fewer workers where nodes are gone, more when they are back, and the same global batch throughout."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith_api.finetunejob import FineTuneJobSpec

# Methods whose micro-batches do not mean the same on another number of workers.
_OF_THEIR_OWN = {
    "grpo": "grpo spreads the answers to a prompt over the workers",
    "ppo": "ppo answers prompts in batches of each worker's own",
}


def sizes(workers: int, minimum: int, accumulation: int) -> tuple[int, ...]:
    """Return the numbers of workers, largest first, that can do a step of `workers` of `accumulation` micro-batches.

    A step's micro-batches are dealt evenly, so their number is a multiple of the number of workers.
    """
    return tuple(count for count in range(workers, minimum - 1, -1) if workers * accumulation % count == 0)


def accumulation(workers: int, given: int, joined: int) -> int:
    """Return how many micro-batches each of `joined` workers does for the step that `workers` do with `given` each."""
    return workers * given // joined


def misfits(spec: "FineTuneJobSpec") -> Iterator[tuple[str, str]]:
    """Yield what does not go together with spec.minWorkers: the field, and what is wrong."""
    if (least := spec.min_workers) is None:
        return
    if least >= spec.workers:
        yield "minWorkers", f"is {least}, and workers is {spec.workers}; set it below that, or leave it out"
        return
    given = spec.training.gradient_accumulation_steps
    possible = sizes(spec.workers, 1, given)
    if least not in possible:
        yield (
            "minWorkers",
            f"{least} workers cannot share the {spec.workers * given} micro-batches of a step (workers x "
            f"gradientAccumulationSteps) evenly; use {_listed(possible[1:])}, or change "
            "training.gradientAccumulationSteps",
        )
    if spec.deepspeed is not None:
        yield (
            "minWorkers",
            "DeepSpeed spreads the optimizer over a number of workers that does not change while they train; leave "
            "out minWorkers or deepspeed",
        )
    if reason := _OF_THEIR_OWN.get(spec.method.type):
        yield "minWorkers", f"{reason}, so that another number of them learns something else; leave it out"
    if spec.data.length_buckets:
        yield (
            "minWorkers",
            "data.lengthBuckets make batches for all workers together, and records would be seen twice or not at all "
            "by another number of them; leave out one of the two",
        )
    if spec.tuning is not None:
        yield "minWorkers", "each trial of a search trains on one worker; leave it out"


def _listed(counts: tuple[int, ...]) -> str:
    words = [str(count) for count in counts]
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
