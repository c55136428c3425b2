"""An index is built once, into a folder that is named by what is in it, for all gateways that share the storage."""

import asyncio
import fcntl
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import islice
from pathlib import Path

import aiohttp

from tunesmith_api.serving.retrieval import Retrieval
from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.errors import DataError, NotWritableError
from tunesmith_runtime.serve.retrieval import collecting, documents
from tunesmith_runtime.serve.retrieval.chunking import Passage, cut
from tunesmith_runtime.serve.retrieval.collecting import Collected
from tunesmith_runtime.serve.retrieval.embedding import BATCH, Embedder
from tunesmith_runtime.serve.retrieval.index import MARKER, DamagedIndexError, Index, IndexWriter

# More are no longer searched in milliseconds, nor held in a gateway's memory.
MOST_PASSAGES = 1_000_000
# Of indices in a folder, besides the newest one: gateways that have not seen the change yet may use them.
KEPT = 2
_ABANDONED_SECONDS = 86_400
# Another way to cut or to store makes other indices.
_FORM = 1

Say = Callable[[str], None]


def name_of(retrieval: Retrieval, files: tuple[Collected, ...], embedder: Embedder) -> str:
    """Return the name of the index of these files, which stands for all that it depends on."""
    facts = [
        _FORM,
        collecting.digest(files),
        retrieval.chunks.to_json(),
        embedder.identity,
        embedder.chunk_prefix,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


async def kept_index(
    retrieval: Retrieval,
    files: tuple[Collected, ...],
    embedder: Embedder,
    session: aiohttp.ClientSession,
    say: Say,
) -> Index:
    """Return the index of the files, built unless it is there. Raises RunError, EmbeddingError and OSError."""
    uri = join(retrieval.index, name_of(retrieval, files, embedder))
    if (found := await asyncio.to_thread(_opened, uri)) is not None:
        return found
    async with _alone(uri):
        if (found := await asyncio.to_thread(_opened, uri)) is not None:  # somebody else has built it meanwhile
            return found
        say(f"building an index of {len(files)} files at {uri}")
        await _build(uri, retrieval, files, embedder, session, say)
        made = await asyncio.to_thread(_opened, uri)
        if made is None:
            raise NotWritableError(f"{uri} is not there although it was written; check the storage")
        await asyncio.to_thread(_forget, retrieval.index)
        say(f"the index has {made.facts['passages']} passages")
        return made


def _opened(uri: str) -> Index | None:
    """Return the index if it is there as a whole."""
    if storage.in_bucket(uri):
        try:
            folder = storage.fetch_folder(uri)
        except NotWritableError:
            return None
    else:
        folder = storage.local_path(uri)
    try:
        return Index(folder) if (folder / MARKER).is_file() else None
    except DamagedIndexError:
        return None


@asynccontextmanager
async def _alone(uri: str) -> AsyncIterator[None]:
    """Keep others from building the same index, where the storage knows locks; elsewhere each builds its own."""
    if storage.in_bucket(uri):
        yield
        return
    folder = storage.local_path(uri)
    await asyncio.to_thread(storage.ensure_writable, uri.rpartition("/")[0])
    path = folder.with_name(f".{folder.name}.lock")
    with path.open("w") as lock:
        with suppress(OSError):  # some file systems have no locks
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        yield
        path.unlink(missing_ok=True)


async def _build(
    uri: str,
    retrieval: Retrieval,
    files: tuple[Collected, ...],
    embedder: Embedder,
    session: aiohttp.ClientSession,
    say: Say,
) -> None:
    target = await asyncio.to_thread(storage.destination, uri, MARKER)
    published = target.published(f"-{uuid.uuid4().hex[:8]}")
    folder = await asyncio.to_thread(published.__enter__)
    try:
        await _write(folder, retrieval, files, embedder, session, say)
    except BaseException as error:
        published.__exit__(type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(published.__exit__, None, None, None)


async def _write(
    folder: Path,
    retrieval: Retrieval,
    files: tuple[Collected, ...],
    embedder: Embedder,
    session: aiohttp.ClientSession,
    say: Say,
) -> None:
    writer = IndexWriter(folder)
    passages = _passages(retrieval, files, say)
    while batch := await asyncio.to_thread(lambda: list(islice(passages, BATCH))):
        if writer.count + len(batch) > MOST_PASSAGES:
            raise DataError(
                f"the documents have more than {MOST_PASSAGES} passages; name fewer, or make chunks.size larger"
            )
        vectors = await embedder.of_chunks([each.text for each in batch], session)
        await asyncio.to_thread(writer.add, batch, vectors)
    if not writer.count:
        raise DataError(f"{', '.join(each.uri for each in retrieval.documents)}: no text is in these documents")
    writer.finish({"files": len(files), "chunks": retrieval.chunks.to_json(), "embeddings": embedder.identity})


def _passages(retrieval: Retrieval, files: tuple[Collected, ...], say: Say) -> Iterator[Passage]:
    """Yield the passages of all files. One that is not what its name says is told and passed over."""
    for file in files:
        try:
            for document in documents.read(file.name, file.path):
                yield from cut(document, retrieval.chunks)
        except DataError as error:
            say(f"passed over: {error}")


def _forget(folder_uri: str) -> None:
    """Delete all but the newest indices of a folder; in buckets they stay."""
    if storage.in_bucket(folder_uri):
        return
    folder = storage.local_path(folder_uri)
    with suppress(OSError):
        found = sorted(folder.glob(f"*/{MARKER}"), key=lambda marker: marker.stat().st_mtime, reverse=True)
        # And what processes have left that were killed while they built.
        left = [each for each in folder.glob(".*.staged-*") if time.time() - each.stat().st_mtime > _ABANDONED_SECONDS]
        for each in [*(marker.parent for marker in found[1 + KEPT :]), *left]:
            shutil.rmtree(each, ignore_errors=True)
