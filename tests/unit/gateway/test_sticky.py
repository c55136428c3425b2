"""Users stay on their revision, and shadows see copies that nobody waits for."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.gateways import CHAT, engine, eventually, gateway, story, upstream
from tunesmith_api.traffic import Upstream
from tunesmith_runtime.serve.gateway.routing import belonging

USERS = [f"user-{number}" for number in range(4000)]


def placed(*weights: int) -> dict[str, int]:
    upstreams = [Upstream(revision=number + 1, weight=weight) for number, weight in enumerate(weights)]
    found = {user: belonging(user, upstreams) for user in USERS}
    return {user: each.revision for user, each in found.items() if each}


def test_users_are_shared_by_weight_and_move_only_as_far_as_weights_do() -> None:
    before, after = placed(90, 10), placed(70, 30)
    shares = Counter(before.values())
    assert 0.08 < shares[2] / len(USERS) < 0.12
    moved = {(before[user], after[user]) for user in USERS if before[user] != after[user]}
    assert moved == {(1, 2)}
    assert 0.17 < sum(before[user] != after[user] for user in USERS) / len(USERS) < 0.23
    assert set(placed(100, 0).values()) == {1}
    assert placed(0, 0) == {}


@pytest.mark.parametrize("by", ["user", "header"])
@story
async def test_a_user_stays_on_a_revision(folder: Path, by: str) -> None:
    sticky = {"by": by, **({"header": "x-team"} if by == "header" else {})}
    async with (
        engine("a") as one,
        engine("b") as two,
        gateway(folder, upstream(1, one, 50), upstream(2, two, 50), traffic={"sticky": sticky}) as served,
    ):
        expected = placed(50, 50)
        for user in USERS[:8]:
            answers = await asyncio.gather(*(served.ask(CHAT | {"user": user}, x_team=user) for _ in range(3)))
            assert {each.headers["x-tunesmith-revision"] for each in answers} == {str(expected[user])}
        if by == "user":  # who does not say goes by the shares
            answers = await asyncio.gather(*(served.ask() for _ in range(10)))
            assert Counter(each.headers["x-tunesmith-revision"] for each in answers) == {"1": 5, "2": 5}


@story
async def test_a_shadow_gets_copies_and_nobody_waits_for_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        engine("stable") as stable,
        engine("shadow", waits=True) as shadow,
        gateway(
            folder,
            upstream(1, stable),
            shadow=upstream(2, shadow, 0, prompt={"system": "Be brief."}),
        ) as served,
    ):
        answers = await asyncio.gather(*(served.ask() for _ in range(20)))
        assert {each.text for each in answers} == {"stable answers you"}
        await eventually(lambda: len(shadow.bodies) == 16)  # the others are dropped: they would have to wait
        assert shadow.bodies[0]["messages"][0] == {"role": "system", "content": "Be brief."}
        shadow.go.set()
        exposed = ""
        while 'shadow_requests_total{outcome="answered"} 16.0' not in exposed:
            exposed = (await served.get("/metrics")).body.decode()
        assert 'shadow_requests_total{outcome="dropped"} 4.0' in exposed
        await eventually(lambda: served.traffic(2).requests == 16)
        assert served.traffic(2).errors == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        said = [line for line in lines if line["message"] == "shadow"]
        assert len(said) == 16
        assert said[0]["revision"] == 2
        assert said[0]["completionTokens"] == 3
        assert "shadow answers you" not in json.dumps(lines)


@story
async def test_a_shadow_that_fails_hurts_nobody(folder: Path) -> None:
    async with engine() as gone:
        pass
    async with engine() as stable, gateway(folder, upstream(1, stable), shadow=upstream(2, gone, 0)) as served:
        assert (await served.ask()).status == 200
        exposed = ""
        while 'shadow_requests_total{outcome="failed"} 1.0' not in exposed:
            exposed = (await served.get("/metrics")).body.decode()
