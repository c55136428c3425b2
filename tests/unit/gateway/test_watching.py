"""A gateway watches what people ask and what they are answered, and says what it found."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.gateways import CHAT, Gateway, engine, eventually, gateway, story, upstream
from tests.judge import judge_server
from tunesmith_api.serving.watch import QualityReport, WatchReport
from tunesmith_runtime.serve.gateway import watching
from tunesmith_runtime.serve.gateway.metrics import Metrics
from tunesmith_runtime.serve.gateway.watching import Watching

SHOP = "when do you open close the shop mend tyres price bicycle saddle hose pump"
COOK = "boil the soup with salt onions pepper cream garlic butter oven recipe"


async def ask(served: Gateway, words: str, count: int, seed: int, **more: Any) -> None:
    drawn = random.Random(seed)
    for _ in range(count):
        question = " ".join(drawn.choices(words.split(), k=8))
        answer = await served.ask(CHAT | {"messages": [{"role": "user", "content": question}], **more})
        assert answer.status == 200


def report(served: Gateway) -> WatchReport:
    """Return what the gateway has watched."""
    return served.report.watch or WatchReport()


def records(folder: Path) -> dict[str, Any]:
    drawn = random.Random(0)
    rows = [{"text": " ".join(drawn.choices(SHOP.split(), k=8))} for _ in range(100)]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"uri": f"file://{folder}/asked.jsonl", "format": "text"}


@story
async def test_drift_and_quality_are_reported_while_requests_go_on(folder: Path) -> None:
    with judge_server(score=lambda answer: "1") as judge:
        watch = {
            "drift": {"reference": records(folder), "windowRequests": 50},
            "watcher": {"endpoint": {"url": judge.url, "model": "wise"}, "sample": 1, "windowAnswers": 5},
        }
        async with engine() as stable, gateway(folder, upstream(4, stable), watch=watch) as served:
            assert served.report.watch is not None
            await ask(served, COOK, 25, seed=1)
            await ask(served, COOK, 25, seed=2, stream=True)
            await eventually(lambda: report(served).drift is not None, served.serving)
            await eventually(lambda: report(served).quality is not None, served.serving)
            found = served.report.watch
            assert found.drift is not None
            assert found.quality is not None
            assert (found.drift.drifted, found.drift.requests) == (True, 50)
            assert found.drift.value > 0.2
            assert found.quality.score == 0
            metrics = (await served.get("/metrics")).body.decode()
            assert f"tunesmith_gateway_drift {found.drift.value}" in metrics
            assert "tunesmith_gateway_answer_score 0.0" in metrics

            await served.takes_up(upstream(4, stable))
            assert served.report.watch is None
            await ask(served, COOK, 1, seed=3)


@story
async def test_answers_of_the_revision_that_serves_are_graded(folder: Path) -> None:
    with judge_server(score=lambda answer: "10" if "canary" in answer else "1") as judge:
        watch = {"watcher": {"endpoint": {"url": judge.url, "model": "wise"}, "sample": 1, "windowAnswers": 5}}
        async with engine() as stable, engine("canary") as canary:
            both = (upstream(1, stable, 50), upstream(2, canary, 50))
            async with gateway(folder, *both, watch=watch) as served:
                await ask(served, SHOP, 20, seed=1)
                await eventually(lambda: report(served).quality is not None, served.serving)
                assert report(served).quality == QualityReport(score=0, answers=5)
                await served.takes_up(upstream(2, canary), watch=watch)
                await ask(served, SHOP, 10, seed=2)
                await eventually(lambda: report(served).quality == QualityReport(score=1, answers=5), served.serving)


@story
async def test_embeddings_come_from_the_revision_that_answers(folder: Path) -> None:
    watch = {"drift": {"reference": records(folder), "windowRequests": 50, "method": "mmd"}}
    async with engine() as stable, gateway(folder, upstream(1, stable), watch=watch) as served:
        await ask(served, COOK, 50, seed=1)
        await eventually(lambda: report(served).drift is not None, served.serving)
        assert served.report.watch is not None
        assert served.report.watch.drift is not None
        assert served.report.watch.drift.drifted
        asked = [body for body in stable.bodies if "input" in body]
        assert {body["model"] for body in asked} == {"bot"}
        assert sum(len(body["input"]) for body in asked) == 150


@story
async def test_what_cannot_be_watched_is_told_and_costs_no_request(folder: Path) -> None:
    watch = {"watcher": {"endpoint": {"url": "http://127.0.0.1:1/v1", "model": "wise", "maxRetries": 0}, "sample": 1}}
    async with engine() as stable, gateway(folder, upstream(1, stable), watch=watch) as served:
        await ask(served, COOK, 2, seed=1)
        await eventually(lambda: bool(served.report.watch and served.report.watch.problem), served.serving)
        assert served.report.watch is not None
        assert (served.report.watch.problem or "").startswith("quality: the judge cannot be reached")
        await ask(served, COOK, 2, seed=2)


@story
async def test_what_is_too_much_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LONGEST_BYTES", 700)
    watch = {"drift": {"reference": records(folder), "windowRequests": 50}}
    async with engine() as stable, gateway(folder, upstream(1, stable), watch=watch) as served:
        await served.ask(CHAT | {"messages": [{"role": "user", "content": "long " * 100}]})
        assert b"tunesmith_gateway_unwatched_total 1.0" in (await served.get("/metrics")).body


def test_nothing_is_graded_where_nothing_is_watched() -> None:
    assert Watching("bot", Metrics()).grades() is False
