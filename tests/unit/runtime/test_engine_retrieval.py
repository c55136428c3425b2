"""Documents, a tiny encoder that embeds them, a tiny model that answers, and the gateway between: all as it is."""

import asyncio
from pathlib import Path

import pytest

from tests.engines import run_of, served_over_http
from tests.gateways import gateway
from tests.tiny import TEXTS, make_tiny_bert, make_tiny_model
from tests.unit.gateway.conftest import folder
from tunesmith_runtime.serve.gateway.grounding import INSTRUCTIONS

__all__ = ["folder"]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
ASKED = {"model": "bot", "max_tokens": 4, "messages": [{"role": "user", "content": "What colour is the sky?"}]}


def test_a_model_answers_from_documents(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    handbook = tmp_path / "data" / "facts.jsonl"
    handbook.parent.mkdir()
    handbook.write_text('{"text": "The sky is blue."}\n{"text": "A spider has eight legs."}\n')
    encoder, bot = make_tiny_bert(tmp_path / "bert", TEXTS), make_tiny_model(tmp_path / "bot", [*TEXTS, INSTRUCTIONS])

    async def story(url: str, embeds: str) -> None:
        retrieval = {
            "documents": [{"uri": "pvc://data/facts.jsonl"}],
            "embeddings": {"url": f"{embeds}/v1", "model": "bot"},
            "topK": 1,
            "minScore": -1,
        }
        upstream = {"revision": 1, "weight": 100, "url": url}
        async with gateway(folder, upstream, retrieval=retrieval) as served, asyncio.timeout(60):
            while (answer := await served.ask(ASKED)).headers["x-tunesmith-retrieval"] == "unavailable":
                await asyncio.sleep(0.05)
            assert answer.status == 200, answer.body
            (cited,) = answer.json["tunesmith"]["citations"]
            assert cited["document"] == "facts.jsonl"
            assert answer.json["usage"]["prompt_tokens"] > 100
            off = await served.ask(ASKED, x_tunesmith_retrieval="off")
            assert off.json["usage"]["prompt_tokens"] < 50

    with served_over_http(run_of(encoder)) as (embeds, _), served_over_http(run_of(bot)) as (url, _):
        asyncio.run(story(url, embeds))
