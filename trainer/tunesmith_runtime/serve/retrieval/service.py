"""What the process beside the gateway does: it keeps the index new, and answers with passages.

Messages are lines of JSON. The gateway sends `{"go_by": ORDERS}`, with what `Orders` has, and `{"ask": NUMBER,
"question": TEXT, "prefer": IDENTITY}`; it is sent `{"ask": NUMBER, "passages": [...]}`, or `error` with a sentence in
their place, and `{"say": SENTENCE}` for its log.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from tunesmith_api.serving.retrieval import Retrieval
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.serve.retrieval import building
from tunesmith_runtime.serve.retrieval.collecting import Collection
from tunesmith_runtime.serve.retrieval.embedding import Embedder, EmbeddingError
from tunesmith_runtime.serve.retrieval.index import Index

Send = Callable[[Mapping[str, Any]], None]
# After a failure it is tried again so soon, then later and later, at most as late as it is looked for changes.
FIRST_PAUSE_SECONDS = 1.0
_CONNECT_SECONDS = 5.0
_EMBEDDING_SECONDS = 120.0


@dataclass(frozen=True)
class Orders:
    """What to go by: the spec, and which revisions embed, the one with the largest share first."""

    retrieval: Retrieval
    embedders: tuple[Embedder, ...]

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Orders":
        """Return the orders that JSON says; `revisions` are models and their URLs, `model` is what they are called."""
        retrieval = Retrieval.model_validate_json(value["retrieval"])
        named = retrieval.embeddings
        if named is None:
            return cls(
                retrieval,
                tuple(Embedder(each["model"], f"{each['url']}/v1", value["model"]) for each in value["revisions"]),
            )
        secret = named.api_key_secret_ref
        key = os.environ.get(secret.variable, "").strip() if secret else ""
        return cls(
            retrieval,
            (Embedder(named.model, named.url, named.model, key, named.query_prefix or "", named.chunk_prefix or ""),),
        )


class Service:
    """Keeps an index for each model that embeds."""

    def __init__(self, session: aiohttp.ClientSession, send: Send) -> None:
        self._session = session
        self._send = send
        self._orders: Orders | None = None
        self._news = asyncio.Event()
        self._collection: Collection | None = None
        self._indices: dict[str, tuple[str, Index]] = {}
        self._problem = "the index is not built yet"
        self._said = ""

    def go_by(self, orders: Orders) -> None:
        """Go by other orders from now on."""
        before, self._orders = self._orders, orders
        uris = tuple(each.uri for each in orders.retrieval.documents)
        if self._collection is None or self._collection.uris != uris:
            self._collection = Collection(uris)
        if before != orders:
            self._news.set()

    async def answer(self, number: int, question: str, prefer: str | None) -> None:
        """Send the passages that fit a question, or why there are none to be had."""
        try:
            found = await self._found(question, prefer)
        except EmbeddingError as error:
            self._send({"ask": number, "error": str(error)})
        except (ValueError, sqlite3.Error) as error:
            self._send({"ask": number, "error": f"the index cannot be asked: {error}"})
        else:
            self._send({"ask": number, "passages": found})

    async def _found(self, question: str, prefer: str | None) -> list[dict[str, Any]]:
        orders = self._orders
        if orders is None:
            raise EmbeddingError("there are no documents to look through")
        if not orders.embedders:
            raise EmbeddingError("no revision is there that could embed the question")
        ready = [each for each in orders.embedders if each.identity in self._indices]
        if not ready:
            raise EmbeddingError(self._problem)
        embedder = next((each for each in ready if each.identity == prefer), ready[0])
        vector = await embedder.of_question(question, self._session)
        _, index = self._indices[embedder.identity]
        found = index.search(vector, orders.retrieval.top_k, orders.retrieval.min_score)
        return [{**vars(each.passage), "score": each.score} for each in found]

    async def follow(self) -> None:
        """Look for changes again and again, until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            self._news.clear()
            orders = self._orders
            refresh = float(orders.retrieval.refresh_seconds) if orders else None
            if orders is not None:
                well = await self._refresh(orders)
                pause = FIRST_PAUSE_SECONDS if well else min(2 * pause, float(orders.retrieval.refresh_seconds))
                refresh = refresh if well else pause
            try:
                async with asyncio.timeout(refresh):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _refresh(self, orders: Orders) -> bool:
        """Bring the indices up to date; return whether all are."""
        collection = self._collection
        assert collection is not None  # noqa: S101 - there are orders
        try:
            files = await asyncio.to_thread(collection.look)
        except (RunError, OSError) as error:
            self._tell_problem(f"the documents cannot be read: {error}")
            return False
        problems = []
        for embedder in orders.embedders:
            name = building.name_of(orders.retrieval, files, embedder)
            old = self._indices.get(embedder.identity)
            if old is not None and old[0] == name:
                continue
            try:
                index = await building.kept_index(orders.retrieval, files, embedder, self._session, self._say)
            except (RunError, EmbeddingError, OSError) as error:
                problems.append(str(error))
                continue
            if old is not None:
                old[1].close()
            self._indices[embedder.identity] = (name, index)
            self._send({"serves": embedder.identity, "index": name, "passages": index.facts["passages"]})
        there = {each.identity for each in orders.embedders}
        # One that nothing embeds for any more can be asked nothing. While nothing embeds at all, all are kept.
        for identity in [each for each in self._indices if there and each not in there]:
            self._indices.pop(identity)[1].close()
        if problems:
            self._tell_problem(f"the index cannot be built: {'; '.join(problems)}")
        else:
            self._said = ""
        return not problems

    def _tell_problem(self, sentence: str) -> None:
        self._problem = sentence
        if sentence != self._said:
            self._say(sentence)
        self._said = sentence

    def _say(self, sentence: str) -> None:
        self._send({"say": sentence})


def open_session() -> aiohttp.ClientSession:
    """Return a pool of connections to what embeds."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_EMBEDDING_SECONDS, sock_connect=_CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
