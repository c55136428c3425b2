"""Texts become vectors, by an OpenAI-compatible endpoint."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
# Of one request.
BATCH = 32
# How often a request is sent that an endpoint does not answer now, and the first pause between.
TRIES = 4
PAUSE_SECONDS = 0.5
_SHOWN = 300
_PASSING = {408, 409, 429}


class EmbeddingError(Exception):
    """An endpoint gives no vectors; the sentence says why."""


@dataclass(frozen=True)
class Embedder:
    """A model behind an endpoint. `identity` is what its vectors go by: those of another one mean something else."""

    identity: str
    url: str
    model: str
    key: str = ""
    query_prefix: str = ""
    chunk_prefix: str = ""

    async def of_chunks(self, texts: Sequence[str], session: aiohttp.ClientSession) -> Vectors:
        """Return a unit vector for each of at most BATCH texts, asked again if need be. Raises EmbeddingError."""
        for tries_left in reversed(range(TRIES)):
            try:
                return await self._asked([self.chunk_prefix + text for text in texts], session)
            except _PassingError as error:
                if not tries_left:
                    raise EmbeddingError(str(error)) from error
            await asyncio.sleep(PAUSE_SECONDS * 2 ** (TRIES - 1 - tries_left))
        raise AssertionError

    async def of_question(self, text: str, session: aiohttp.ClientSession) -> Vectors:
        """Return the vector of a question. Raises EmbeddingError."""
        return (await self._asked([self.query_prefix + text], session))[0]

    async def _asked(self, texts: Sequence[str], session: aiohttp.ClientSession) -> Vectors:
        url = f"{self.url.rstrip('/')}/embeddings"
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            async with session.post(
                url, json={"model": self.model, "input": list(texts)}, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    said = " ".join((await response.text(errors="replace")).split())[:_SHOWN]
                    passing = response.status in _PASSING or response.status >= 500
                    raise (_PassingError if passing else EmbeddingError)(f"{url} answers {response.status}: {said}")
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _PassingError(f"{url} cannot be reached: {error or type(error).__name__}") from error
        except ValueError as error:
            raise EmbeddingError(f"{url} answers with no JSON: {error}") from error
        return _vectors(answer, len(texts), url)


class _PassingError(EmbeddingError):
    """Trying again can help."""


def _vectors(answer: Any, count: int, url: str) -> Vectors:
    try:
        rows = sorted(answer["data"], key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise EmbeddingError(f"{url} answers, but not with embeddings: {type(error).__name__}: {error}") from error
    if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1] or not np.isfinite(vectors).all():
        raise EmbeddingError(f"{url} answers with vectors that are not one of numbers for each text")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
