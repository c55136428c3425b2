"""Queues and gangs: who decides when the pods of a training run start, and that they start together."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, DnsLabel

if TYPE_CHECKING:
    from tunesmith_api.finetunejob import FineTuneJobSpec

# What runs the pods of an attempt.
Backend = Literal["auto", "native", "kuberay"]
Gang = Literal["none", "kueue", "volcano", "coscheduling"]


class Queue(ApiModel):
    """Where a run waits for its turn."""

    name: DnsLabel | None = Field(
        default=None, description="Kueue's LocalQueue, or Volcano's Queue (default: Volcano's own default)."
    )
    gang: Gang = Field(
        default="kueue",
        description="Who starts the pods, all of them or none: kueue holds the run back until its queue has room, "
        "volcano and coscheduling schedule its pods as a PodGroup. none: each pod starts when a node can take it.",
    )


def misfits(spec: "FineTuneJobSpec") -> Iterator[tuple[str, str]]:
    """Yield what does not go together in spec.queue and spec.backend: the field, and what is wrong.

    | gang         | name   | one worker | several, native | several, kuberay |
    |--------------|--------|------------|-----------------|------------------|
    | none         | none   | yes        | yes             | yes              |
    | kueue        | needed | yes        | no              | yes              |
    | volcano      | may be | yes        | yes             | yes              |
    | coscheduling | none   | no         | yes             | yes              |
    """
    queue = spec.queue
    if queue is None:
        return
    if queue.gang == "kueue" and queue.name is None:
        yield "queue.name", "gang kueue needs the name of a LocalQueue of this namespace; set it, or use another gang"
    if queue.gang in ("none", "coscheduling") and queue.name is not None:
        yield "queue.name", f"gang {queue.gang} knows no queues; leave it out, or use gang kueue or volcano"
    if queue.gang == "coscheduling" and spec.workers == 1:
        yield "queue.gang", "coscheduling waits for pods to start together, and workers is 1; leave queue out"
    if queue.gang == "kueue" and spec.workers > 1 and spec.backend == "native":
        yield "queue.gang", several_need_kuberay("backend is native", "choose backend auto or kuberay")


def several_need_kuberay(why_not: str, remedy: str) -> str:
    """Return the sentence that says why Kueue cannot hold several native pods together."""
    return (
        f"kueue holds several workers together as one RayJob of KubeRay, and {why_not}; {remedy}, or use gang volcano "
        "or coscheduling, or one worker"
    )
