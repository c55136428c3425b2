"""Whether kopf still watches."""

import asyncio

# The task of kopf's that keeps its watches; kopf has no other sign of them.
WATCHES = "multidimensional multitasker"
LOOK_SECONDS = 5.0
# kopf's own end takes a moment.
LOOKS = 3


class DeafError(Exception):
    """kopf watches nothing any more, and does not end."""


async def until_ended(kopf: "asyncio.Task[None]") -> None:
    """Wait until kopf has ended, and raise what it raised.

    An API server that is just starting answers 404 for our kinds, upon which kopf ends all its watches. One that is
    cancelled while it tidies up loses the cancellation (1.45.2), and kopf waits for it for ever, having told nobody.
    Then this raises DeafError.
    """
    missing = 0
    while missing < LOOKS:
        await asyncio.wait({kopf}, timeout=LOOK_SECONDS)
        if kopf.done():
            return kopf.result()
        watches = any(task.get_name() == WATCHES for task in asyncio.all_tasks())
        missing = 0 if watches else missing + 1
    raise DeafError
