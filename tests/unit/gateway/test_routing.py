"""Requests reach the revisions in the shares that were asked for, and wait for one that is not ready."""

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateways import engine, eventually, gateway, story, upstream
from tunesmith_api.traffic import Upstream
from tunesmith_runtime.serve.gateway.routing import Balance


@given(cuts=st.lists(st.integers(0, 100), max_size=3), skipped=st.integers(0, 150))
def test_any_hundred_requests_in_a_row_are_shared_as_asked(cuts: list[int], skipped: int) -> None:
    edges = [0, *sorted(cuts), 100]
    weights = [high - low for low, high in pairwise(edges)]
    upstreams = [Upstream(revision=number + 1, weight=weight) for number, weight in enumerate(weights)]
    balance = Balance()
    drawn = [balance.next(upstreams) for _ in range(skipped + 100)]
    counts = Counter(each.revision for each in drawn[skipped:] if each)
    assert [counts[each.revision] for each in upstreams] == weights


@story
async def test_an_answer_names_its_revision_and_the_shares_hold_in_parallel(folder: Path) -> None:
    async with (
        engine("stable") as stable,
        engine("canary") as canary,
        gateway(folder, upstream(3, stable, 90), upstream(4, canary, 10)) as served,
    ):
        answers = await asyncio.gather(*(served.ask() for _ in range(100)))
        assert Counter(each.headers["x-tunesmith-revision"] for each in answers) == {"3": 90, "4": 10}
        assert Counter(each.text for each in answers) == {"stable answers you": 90, "canary answers you": 10}


@story
async def test_routes_change_without_a_restart_and_open_answers_go_on(folder: Path) -> None:
    async with engine("old", waits=True) as old, engine("new") as new, gateway(folder, upstream(1, old)) as served:
        first = asyncio.create_task(served.ask())
        await eventually(lambda: bool(old.bodies))
        await served.takes_up(upstream(1, old, 0), upstream(2, new))
        assert (await served.ask()).text == "new answers you"
        old.go.set()
        assert (await first).text == "old answers you"


@story
async def test_broken_routes_are_told_and_the_old_ones_stay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with engine() as stable, gateway(folder, upstream(1, stable)) as served:
        said = ""
        for broken in ("{", '{"upstreams": [{"revision": 0, "weight": 100}]}'):
            (folder / "routes.json").write_text(broken)
            while "cannot be used, going on by generation 1" not in said:
                said += capsys.readouterr().out
                await asyncio.sleep(0.005)
            assert (await served.ask()).status == 200
        (folder / "routes.json").unlink()
        assert (await served.ask()).status == 200


@story
async def test_a_request_waits_for_a_revision_that_is_scaled_to_zero(folder: Path) -> None:
    async with engine() as stable, gateway(folder, upstream(1, None)) as served:
        asked = [asyncio.create_task(served.ask()) for _ in range(3)]
        # The operator is told at once, so that it can start the revision.
        await eventually(lambda: served.waiting > 0)
        served.route(upstream(1, stable))
        assert [each.status for each in await asyncio.gather(*asked)] == [200, 200, 200]


@story
async def test_too_many_and_too_long_waits_are_refused(folder: Path) -> None:
    hold = {"maxRequests": 2, "timeoutSeconds": 1}
    async with gateway(folder, upstream(1, None), hold=hold) as served:
        answers = await asyncio.gather(*(served.ask() for _ in range(3)))
        assert [each.status for each in answers] == [503, 503, 503]
        assert {each.code for each in answers} == {"not_ready"}
        assert all(int(each.headers["retry-after"]) > 0 for each in answers)
        said = sorted(each.json["error"]["message"] for each in answers)
        assert said[0] == "no revision is ready, and 2 requests wait already; try again"
        assert said[1] == "the model did not become ready within 1 seconds; try again"


@story
async def test_requests_for_a_revision_that_is_taken_back_go_to_another(folder: Path) -> None:
    async with engine() as stable, gateway(folder, upstream(2, None)) as served:
        asked = asyncio.create_task(served.ask())
        await eventually(lambda: served.waiting == 1)
        served.route(upstream(1, stable))
        assert (await asked).headers["x-tunesmith-revision"] == "1"


@story
async def test_without_routes_nothing_is_ready(folder: Path) -> None:
    async with gateway(folder) as served:
        assert (await served.get("/ready")).status == 503
        assert (await served.get("/health")).status == 200
        assert (await served.ask()).code == "no_routes"


@story
async def test_what_cannot_be_reached_is_tried_on_another_revision(folder: Path) -> None:
    async with engine("stable") as stable, engine("gone") as gone:
        pass
    async with (
        engine("stable") as stable,
        gateway(folder, upstream(1, stable, 50), upstream(2, gone, 50)) as served,
    ):
        answers = await asyncio.gather(*(served.ask() for _ in range(10)))
        assert {(each.status, each.headers["x-tunesmith-revision"]) for each in answers} == {(200, "1")}
        await eventually(lambda: served.traffic(2).errors == 5)
        assert served.traffic(1).errors == 0


@story
async def test_what_cannot_be_reached_at_all_is_a_bad_gateway(folder: Path) -> None:
    async with engine() as gone:
        pass
    async with gateway(folder, upstream(1, gone)) as served:
        answer = await served.ask()
        assert (answer.status, answer.code) == (502, "upstream_unreachable")
        assert answer.json["error"]["message"] == "revision 1 cannot be reached; try again"


@story
async def test_the_report_says_what_each_revision_did(folder: Path) -> None:
    async with (
        engine("stable") as stable,
        engine("canary", status=500) as canary,
        gateway(folder, upstream(1, stable, 80), upstream(2, canary, 20)) as served,
    ):
        answers = [await served.ask() for _ in range(10)]
        assert Counter(each.status for each in answers) == {200: 8, 500: 2}
        await eventually(lambda: served.traffic(1).requests == 8)
        stable_traffic, canary_traffic = served.traffic(1), served.traffic(2)
        assert (stable_traffic.routed, stable_traffic.errors, stable_traffic.in_flight) == (8, 0, 0)
        assert (canary_traffic.routed, canary_traffic.errors) == (2, 2)
        assert 0 < (stable_traffic.latency_p50_seconds or 0) <= (stable_traffic.latency_p99_seconds or 0)
        assert served.report.last_request_at is not None
        # Other routes: what was routed is counted from here on.
        await served.takes_up(upstream(1, stable))
        assert served.traffic(1).routed == 0
