"""An operator that hears nothing any more must not go on as if nothing happened."""

import asyncio
from collections.abc import Coroutine

import pytest

from tunesmith_operator.controller import hearing
from tunesmith_operator.controller.hearing import DeafError, until_ended


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "LOOK_SECONDS", 0.01)


def test_kopf_that_hangs_in_its_own_end_is_noticed() -> None:
    async def hangs() -> None:
        watches = asyncio.create_task(asyncio.sleep(0.05), name=hearing.WATCHES)
        await watches
        await asyncio.Event().wait()

    with pytest.raises(DeafError):
        asyncio.run(asyncio.wait_for(until_ended_of(hangs()), 5))


def test_kopf_that_watches_is_let_alone_and_its_end_is_its_own() -> None:
    async def ends() -> None:
        await asyncio.create_task(asyncio.sleep(0.2), name=hearing.WATCHES)

    async def fails() -> None:
        await ends()
        raise ValueError("404 page not found")

    asyncio.run(asyncio.wait_for(until_ended_of(ends()), 5))
    with pytest.raises(ValueError, match="404"):
        asyncio.run(asyncio.wait_for(until_ended_of(fails()), 5))


async def until_ended_of(kopf: Coroutine[None, None, None]) -> None:
    await until_ended(asyncio.create_task(kopf))
