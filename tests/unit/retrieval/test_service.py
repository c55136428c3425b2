"""An index is built once for all gateways, made anew when documents change, and asked meanwhile."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.gateways import Engine, engine, eventually, story
from tests.s3 import BUCKET, S3Server, use
from tunesmith_runtime.serve.retrieval.service import Orders, Service, open_session

HOURS, PRICES = "The shop opens at nine in the morning.", "Inner tubes cost six euros."


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNESMITH_VOLUMES", str(tmp_path))
    monkeypatch.setattr("tunesmith_runtime.serve.retrieval.service.FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr("tunesmith_runtime.serve.retrieval.embedding.PAUSE_SECONDS", 0.001)


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "handbook"
    folder.mkdir(parents=True)
    (folder / "hours.md").write_text(HOURS)
    (folder / "prices.txt").write_text(PRICES)
    return folder


@dataclass
class Running:
    """A service that runs, and what it has sent."""

    service: Service
    following: asyncio.Task[None]
    sent: list[Any] = field(default_factory=list)

    @property
    def said(self) -> list[str]:
        return [each["say"] for each in self.sent if "say" in each]

    @property
    def indices(self) -> list[str]:
        """The names of the indices that came to serve."""
        return [each["index"] for each in self.sent if "serves" in each]

    async def ask(self, question: str, prefer: str | None = None) -> Any:
        """Return the answer to a question."""
        await self.service.answer(1, question, prefer)
        return self.sent.pop()

    async def built(self, count: int = 1) -> None:
        """Wait until so many indices have come to serve."""
        await eventually(lambda: len(self.indices) >= count, self.following)

    async def says(self, words: str) -> None:
        await eventually(lambda: any(words in each for each in self.said), self.following)


@asynccontextmanager
async def service() -> AsyncIterator[Running]:
    sent: list[Any] = []
    async with open_session() as session:
        made = Service(session, lambda message: sent.append(json.loads(json.dumps(message))))
        following = asyncio.create_task(made.follow())
        try:
            yield Running(made, following, sent)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def orders(*revisions: tuple[str, Engine], uri: str = "pvc://data/handbook", **more: Any) -> Orders:
    retrieval = {"documents": [{"uri": uri}], "minScore": 0.1, "topK": 2, **more}
    named = [{"model": name, "url": each.url} for name, each in revisions]
    return Orders.of({"retrieval": json.dumps(retrieval), "model": "bot", "revisions": named})


def folders(handbook: Path) -> list[str]:
    """Return the indices that are on storage, and nothing else that was left there."""
    return sorted(each.name for each in handbook.with_name("handbook-index").iterdir())


@story
async def test_the_passage_that_fits_is_found(handbook: Path) -> None:
    async with engine(encodes=True) as encoder, service() as running:
        assert (await running.ask("When?"))["error"] == "there are no documents to look through"
        running.service.go_by(orders(("m", encoder)))
        await running.built()
        (found,) = (await running.ask("When is the shop open in the morning?"))["passages"]
        assert (found["document"], found["text"]) == ("handbook/hours.md", HOURS)
        assert 0.5 < found["score"] < 1
        assert (await running.ask("zebra"))["passages"] == []
        assert folders(handbook) == running.indices


@story
async def test_gateways_share_an_index(handbook: Path) -> None:
    async with engine(encodes=True) as encoder, service() as one, service() as other:
        for each in (one, other):
            each.service.go_by(orders(("m", encoder)))
        await one.built()
        await other.built()
        assert sorted(encoder.embedded) == sorted([HOURS, PRICES])
        assert one.indices == other.indices


@story
async def test_the_old_index_serves_until_the_new_one_is_there(handbook: Path) -> None:
    async with engine(encodes=True) as encoder, service() as running:
        running.service.go_by(orders(("m", encoder)))
        await running.built()
        encoder.go.clear()
        (handbook / "prices.txt").write_text("Inner tubes cost seven euros.")
        (handbook / "hours.md").unlink()
        running.service.go_by(orders(("m", encoder), topK=1))
        await eventually(lambda: encoder.running > 0)
        assert len(running.indices) == 1
        encoder.go.set()
        await running.built(2)
        (found,) = (await running.ask("What do tubes cost?"))["passages"]
        assert "seven" in found["text"]
        assert (await running.ask("The shop opens in the morning"))["passages"] == []


@story
async def test_only_the_newest_indices_are_kept(handbook: Path) -> None:
    (left := handbook.with_name("handbook-index") / ".aa.staged-bb").mkdir(parents=True)
    os.utime(left, (0, 0))
    async with engine(encodes=True) as encoder, service() as running:
        for size in (200, 300, 400, 500):
            running.service.go_by(orders(("m", encoder), chunks={"size": size}))
            await running.built(size // 100 - 1)
        assert folders(handbook) == sorted(running.indices[1:])


@story
async def test_each_model_has_an_index_and_is_asked_for_its_own(handbook: Path) -> None:
    async with engine("old", encodes=True) as old, engine("new", encodes=True) as new, service() as running:
        running.service.go_by(orders(("old", old)))
        await running.built()
        running.service.go_by(orders(("old", old), ("new", new)))
        await running.built(2)
        await running.ask("When?", "new")
        assert (new.embedded[-1], "When?" in old.embedded) == ("When?", False)
        await running.ask("Where?", "another")
        assert old.embedded[-1] == "Where?"
        running.service.go_by(orders())
        assert (await running.ask("When?"))["error"] == "no revision is there that could embed the question"


@story
async def test_an_endpoint_of_its_own_embeds_with_its_key_and_prefixes(
    handbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_KEY_ENCODER__KEY", "secret\n")
    async with engine(encodes=True) as bot, engine(encodes=True) as encoder, service() as running:
        named = {
            "url": f"{encoder.url}/v1",
            "model": "minilm",
            "apiKeySecretRef": {"name": "encoder", "key": "key"},
            "queryPrefix": "query: ",
            "chunkPrefix": "passage: ",
        }
        running.service.go_by(orders(("m", bot), embeddings=named))
        await running.built()
        await running.ask("When?")
        assert (bot.bodies, encoder.bodies[0]["model"]) == ([], "minilm")
        assert encoder.embedded == [f"passage: {HOURS}", f"passage: {PRICES}", "query: When?"]
        assert encoder.headers[0]["authorization"] == "Bearer secret"


@story
async def test_what_stands_in_the_way_is_said_and_tried_again(handbook: Path) -> None:
    async with engine(status=503, encodes=True) as encoder, service() as running:
        running.service.go_by(orders(("m", encoder)))
        await running.says("the index cannot be built: ")
        answer = await running.ask("When?")
        assert answer["error"].endswith(f'{encoder.url}/v1/embeddings answers 503: {{"error": {{"message": "no", '
                                        '"type": "server_error"}}')  # fmt: skip
        assert all(each.startswith(".") for each in folders(handbook))
        encoder.status = 200
        await running.built()
        assert (await running.ask("When is the shop open?"))["passages"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("handbook", "the folder holds no data files"), ("a.docx", "a.docx is no document that is read here")],
)
def test_documents_that_cannot_be_are_said(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "data" / "handbook").mkdir(parents=True)
    (tmp_path / "data" / "a.docx").touch()

    async def story() -> None:
        async with engine(encodes=True) as encoder, service() as running:
            running.service.go_by(orders(("m", encoder), uri=f"pvc://data/{name}"))
            await running.says(words)
            assert "the documents cannot be read: " in (await running.ask("When?"))["error"]

    asyncio.run(story())


@story
async def test_a_file_that_cannot_be_read_does_not_keep_the_others_out(handbook: Path) -> None:
    (handbook / "broken.jsonl").write_text("nonsense")
    async with engine(encodes=True) as encoder, service() as running:
        running.service.go_by(orders(("m", encoder)))
        await running.built()
        assert any(each.startswith("passed over: handbook/broken.jsonl, line 1 is no JSON") for each in running.said)


@story
async def test_documents_without_a_text_make_no_index(handbook: Path) -> None:
    for name in ("hours.md", "prices.txt"):
        (handbook / name).write_text("\n")
    async with engine(encodes=True) as encoder, service() as running:
        running.service.go_by(orders(("m", encoder)))
        await running.says("pvc://data/handbook: no text is in these documents")


@story
async def test_an_index_that_is_damaged_is_built_again(handbook: Path) -> None:
    async with engine(encodes=True) as encoder:
        async with service() as running:
            running.service.go_by(orders(("m", encoder)))
            await running.built()
            name = running.indices[0]
        (handbook.with_name("handbook-index") / name / "vectors.usearch").write_text("nonsense")
        async with service() as running:
            running.service.go_by(orders(("m", encoder)))
            await running.built()
            assert (await running.ask("When is the shop open?"))["passages"]


@story
async def test_an_endpoint_that_changes_its_vectors_is_found_out(
    handbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(encodes=True) as encoder, service() as running:
        running.service.go_by(orders(("m", encoder)))
        await running.built()
        monkeypatch.setattr("tests.gateways.meaning", lambda text: [1.0])
        assert (await running.ask("When?"))["error"] == (
            "the index cannot be asked: the index has 512 dimensions, and the question 1"
        )


def test_documents_and_index_may_lie_in_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    server = S3Server()
    server.start()
    use(monkeypatch, server)
    server.write({"handbook/hours.md": HOURS})

    async def story() -> None:
        async with engine(encodes=True) as encoder:
            for _ in range(2):
                async with service() as running:
                    running.service.go_by(orders(("m", encoder), uri=f"s3://{BUCKET}/handbook"))
                    await running.built()
                    assert (await running.ask("When is the shop open?"))["passages"]
            assert encoder.embedded.count(HOURS) == 1

    asyncio.run(story())
    assert {name.rpartition("/")[2] for name in server.names("handbook-index")} == {
        "index.json",
        "passages.sqlite",
        "vectors.usearch",
    }
    server.empty()
    server.stop()
