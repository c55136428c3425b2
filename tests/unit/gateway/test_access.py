"""API keys and limits: who may ask, and how much."""

import asyncio
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.gateways import CHAT, Gateway, engine, eventually, gateway, story, upstream, write
from tunesmith_api.serving.access import Limits
from tunesmith_runtime.serve.gateway.limits import Limiter, share
from tunesmith_runtime.serve.gateway.refusals import Refusal

AUTH = {"apiKeysSecretRef": {"name": "bot-keys"}}


def entry(key: str, name: str = "app", **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **more}


def put_keys(folder: Path, *entries: dict[str, Any]) -> None:
    write(folder / "keys.yaml", json.dumps(entries))


async def answered(served: Gateway, key: str, status: int) -> None:
    """Wait until a key is answered so."""
    async with asyncio.timeout(10):
        while (await served.ask(key=key)).status != status:
            await asyncio.sleep(0.02)


@story
async def test_only_known_keys_are_answered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_keys(
        folder,
        entry("good"),
        entry("old", "past", expiresAt="2020-01-01T00:00:00Z"),
        entry("later", "future", expiresAt="2999-01-01T00:00:00Z"),
    )
    async with engine() as stable, gateway(folder, upstream(1, stable), auth=AUTH) as served:
        assert (await served.ask(key="good")).status == 200
        assert (await served.ask(key="later")).status == 200
        for key, code in ((None, "missing_api_key"), ("bad", "invalid_api_key"), ("old", "expired_api_key")):
            answer = await served.ask(key=key)
            assert (answer.status, answer.code) == (401, code)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json["error"]["type"] == "authentication_error"
        assert (await served.ask(authorization="Basic Z29vZDpnb29k")).code == "missing_api_key"
        assert (await served.get("/v1/models")).status == 401
        assert (await served.get("/ready")).status == 200
        assert len(stable.bodies) == 2
    said = capsys.readouterr().out
    assert '"key": "app"' in said
    assert "good" not in said


@story
async def test_a_key_may_do_what_its_scopes_name(folder: Path) -> None:
    put_keys(folder, entry("chats", "a", scopes=["chat"]), entry("lists", "b", scopes=["models"]))
    async with engine() as stable, gateway(folder, upstream(1, stable), auth=AUTH) as served:
        assert (await served.ask(key="chats")).status == 200
        refused = await served.ask(key="lists")
        assert (refused.status, refused.code) == (403, "missing_scope")
        assert refused.json["error"]["message"] == "the API key lacks the scope chat"
        assert (await served.ask({"model": "bot", "input": "a"}, key="chats", path="/v1/embeddings")).status == 403
        assert (await served.get("/v1/models", authorization="Bearer lists")).status == 200


@story
async def test_keys_come_and_go_while_it_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with engine() as stable, gateway(folder, upstream(1, stable), auth=AUTH) as served:
        assert (await served.ask(key="first")).code == "no_keys"
        put_keys(folder, entry("first"))
        await answered(served, "first", 200)
        put_keys(folder, entry("second"))
        await answered(served, "second", 200)
        assert (await served.ask(key="first")).status == 401
        for broken in ("a: [", "- {name: x}", "7", json.dumps([entry("x"), entry("y")])):
            capsys.readouterr()
            write(folder / "keys.yaml", broken)
            said = ""
            while "keys.yaml cannot be used" not in said:
                await asyncio.sleep(0.01)
                said += capsys.readouterr().out
            assert "the keys from before go on to count" in said
            assert (await served.ask(key="second")).status == 200


@pytest.mark.parametrize("of_the_key", [True, False])
@story
async def test_fifty_clients_at_once_get_exactly_their_limit(folder: Path, of_the_key: bool) -> None:
    limits = {"requestsPerMinute": 20}
    put_keys(folder, entry("a", "a", **({"limits": limits} if of_the_key else {})), entry("b", "b"))
    policy = {} if of_the_key else {"limits": limits}
    async with engine() as stable, gateway(folder, upstream(1, stable), auth=AUTH, **policy) as served:
        answers = await asyncio.gather(*(served.ask(key="a") for _ in range(50)))
        assert Counter(each.status for each in answers) == {200: 20, 429: 30}
        refused = next(each for each in answers if each.status == 429)
        assert refused.code == "requests_per_minute"
        assert 55 < int(refused.headers["retry-after"]) <= 60
        assert refused.headers["x-ratelimit-limit-requests"] == "20"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["x-ratelimit-reset-requests"].endswith("s")
        # Another key has limits of its own.
        assert (await served.ask(key="b")).status == 200


@story
async def test_requests_at_the_same_time_are_counted_until_they_end(folder: Path) -> None:
    async with (
        engine(waits=True) as slow,
        gateway(folder, upstream(1, slow), limits={"maxConcurrentRequests": 3}) as served,
    ):
        asked = [asyncio.create_task(served.ask()) for _ in range(50)]
        await eventually(lambda: sum(each.done() for each in asked) == 47)
        asked_and_gone = next(each for each in asked if not each.done())
        asked_and_gone.cancel()
        await eventually(lambda: slow.dropped == 1)
        slow.go.set()
        assert (await served.ask()).status == 200
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert Counter(each.status for each in answers if not isinstance(each, BaseException)) == {200: 2, 429: 47}


@story
async def test_tokens_are_taken_in_advance_and_given_back(folder: Path) -> None:
    put_keys(folder, entry("a", "a", limits={"tokensPerMinute": 200}))
    async with engine() as stable, gateway(folder, upstream(1, stable), auth=AUTH) as served:
        asked = CHAT | {"max_tokens": 50}
        answers = await asyncio.gather(*(served.ask(asked, key="a") for _ in range(50)))
        # Each may take 50 and its prompt: two at once have room; 10 is what it was in the end.
        taken = Counter(each.status for each in answers)[200]
        assert 2 <= taken <= 14
        assert {each.code for each in answers if each.status == 429} == {"tokens_per_minute"}
        usage = (await served.get("/v1/usage", authorization="Bearer a")).json
        assert usage["key"] == "a"
        assert usage["limits"] == {"tokensPerMinute": 200}
        assert usage["total"] == {"requests": taken, "tokens": 10 * taken}
        assert usage["last_minute"]["tokens"] == 10 * taken
        refused = await served.ask(CHAT | {"max_tokens": 500}, key="a")
        assert (refused.status, refused.code) == (400, "too_many_tokens")
        exposed = (await served.get("/metrics")).body.decode()
        assert f'tunesmith_gateway_key_tokens_total{{key="a"}} {10.0 * taken}' in exposed


@story
async def test_a_stream_without_usage_is_counted_by_its_chunks(folder: Path) -> None:
    async with engine(usage=False) as stable, gateway(folder, upstream(1, stable)) as served:
        await served.ask(CHAT | {"stream": True})
        usage = (await served.get("/v1/usage")).json
        assert usage["total"]["tokens"] == len(json.dumps(CHAT | {"stream": True})) // 4 + 3


def test_the_window_slides(folder: Path) -> None:
    now = 1000.0
    meter = Limiter(lambda: now).meter("a")
    limits = Limits(requests_per_minute=2, tokens_per_minute=100)
    with meter.admit(limits, 60, exact=True) as first:
        first.tokens = 80
    now += 30
    with pytest.raises(Refusal, match="the limit is 100 tokens a minute, and the request may take 60") as refused:
        meter.admit(limits, 60, exact=True)
    assert refused.value.headers["retry-after"] == "30"
    with meter.admit(limits, 20, exact=True) as second:
        second.tokens = 20
    with pytest.raises(Refusal, match="the limit is 2 requests a minute") as refused:
        meter.admit(limits, 1, exact=True)
    assert refused.value.headers["retry-after"] == "30"
    now += 30
    meter.admit(limits, 80, exact=True)
    # What cannot say how much it takes is let in when there is room at all.
    now += 60
    meter.admit(limits, 512, exact=False)


def test_several_gateways_share_the_limits() -> None:
    limits = Limits(requests_per_minute=100, max_concurrent_requests=2)
    assert share(limits, 1) == limits
    assert share(limits, 3) == Limits(requests_per_minute=33, max_concurrent_requests=1)
    assert share(None, 3) == Limits()
