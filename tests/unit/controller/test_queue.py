"""The work queue: each key once, one at a time, again after errors."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tunesmith_operator.controller import queue as module
from tunesmith_operator.controller.queue import WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def on_a_loop(test: Callable[[WorkQueue[str], Clock], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        clock = Clock()
        await test(WorkQueue(clock, jitter=lambda: 1.0), clock)

    asyncio.run(asyncio.wait_for(run(), 5))


def test_a_key_that_is_added_twice_waits_once() -> None:
    async def story(queue: WorkQueue[str], clock: Clock) -> None:
        queue.add("a")
        queue.add("b")
        queue.add("a")
        assert len(queue) == 2
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert len(queue) == 0

    on_a_loop(story)


def test_a_key_in_work_is_worked_on_once_more_but_never_by_two() -> None:
    async def story(queue: WorkQueue[str], clock: Clock) -> None:
        queue.add("a")
        key = await queue.get()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 0
        queue.done(key)
        assert len(queue) == 1
        assert await queue.get() == "a"
        queue.done("a")
        assert len(queue) == 0

    on_a_loop(story)


def test_whoever_waits_is_woken() -> None:
    async def story(queue: WorkQueue[str], clock: Clock) -> None:
        getting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        assert await getting == "a"

    on_a_loop(story)


def test_the_earliest_of_several_delays_counts() -> None:
    async def story(queue: WorkQueue[str], clock: Clock) -> None:
        queue.add_after("a", 60)
        queue.add_after("a", 0.01)
        queue.add_after("a", 60)
        assert await queue.get() == "a"

    on_a_loop(story)


def test_backoff_doubles_up_to_a_minute_and_is_forgotten_after_a_success() -> None:
    async def story(queue: WorkQueue[str], clock: Clock) -> None:
        pauses = [queue.retry("a") for _ in range(10)]
        assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
        assert pauses[-1] == module.LONGEST_BACKOFF_SECONDS
        queue.succeeded("a")
        assert queue.retry("a") == 0.5

    on_a_loop(story)


def test_jitter_keeps_keys_that_failed_together_apart() -> None:
    async def run() -> None:
        halves = iter([0.0, 1.0])
        queue: WorkQueue[str] = WorkQueue(Clock(), jitter=lambda: next(halves))
        assert (queue.retry("a"), queue.retry("b")) == (0.25, 0.5)

    asyncio.run(run())


def test_it_is_stalled_when_there_is_work_and_nothing_ends() -> None:
    async def story(queue: WorkQueue[str], clock: Clock) -> None:
        clock.now += 1000
        assert queue.stalled_seconds() == 0
        queue.add("a")
        await queue.get()
        clock.now += 30
        assert queue.stalled_seconds() == 30
        assert queue.in_work_seconds() == [30]
        queue.done("a")
        assert queue.stalled_seconds() == 0

    on_a_loop(story)


def test_a_queue_whose_workers_end_work_is_not_stalled_however_long_it_is() -> None:
    async def story(queue: WorkQueue[str], clock: Clock) -> None:
        for number in range(100):
            queue.add(str(number))
        for _ in range(50):
            key = await queue.get()
            clock.now += 10
            queue.done(key)
        assert queue.stalled_seconds() == 0

    on_a_loop(story)


@given(st.lists(st.sampled_from(["add a", "add b", "get", "done"]), max_size=40))
def test_no_key_is_lost_and_none_is_in_work_twice(steps: list[str]) -> None:
    async def story(queue: WorkQueue[str], clock: Clock) -> None:
        working: list[str] = []
        owed: set[str] = set()
        for step in steps:
            if step.startswith("add"):
                queue.add(step[-1])
                owed.add(step[-1])
            elif step == "get" and len(queue):
                key = await queue.get()
                assert key not in working
                working.append(key)
                owed.discard(key)
            elif step == "done" and working:
                queue.done(working.pop(0))
        while working:
            queue.done(working.pop())
        waiting = {await queue.get() for _ in range(len(queue))}
        assert waiting == owed

    on_a_loop(story)
