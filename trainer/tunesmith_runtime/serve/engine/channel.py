"""From the model's thread to the request that waits: news of its answers, and that its client has gone."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request

from tunesmith_runtime.serve.engine.answers import Asked, News
from tunesmith_runtime.serve.engine.questions import Piece, Question


class ClientGoneError(Exception):
    """The client has closed its connection."""


class Channel:
    """The news of one question. It gives up as soon as the client is gone, or the channel is closed."""

    def __init__(self, question: Question, request: Request) -> None:
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[News] = asyncio.Queue()
        self._answers = len(question.prompts) * question.n
        self.asked = Asked(question, self._tell)
        self._watching = asyncio.create_task(self._watch(request))

    async def first(self) -> Piece:
        """Return the first piece. Raises what kept it from coming, ClientGoneError among it."""
        return await self._next()

    async def pieces(self, first: Piece) -> AsyncIterator[Piece]:
        """Yield all pieces, beginning with the first. Raises as `first` does."""
        piece = first
        while True:
            self._answers -= piece.finish is not None
            yield piece
            if not self._answers:
                return
            piece = await self._next()

    def close(self) -> None:
        """Want no more."""
        self.asked.give_up()
        self._watching.cancel()

    async def _next(self) -> Piece:
        news = await self._news.get()
        if isinstance(news, Exception):
            raise news
        return news

    def _tell(self, news: News) -> None:
        """Take news, in the model's thread."""
        if not self.asked.given_up:
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)

    async def _watch(self, request: Request) -> None:
        # All of the body has been read: what comes now is the end.
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.asked.give_up()
        self._news.put_nowait(ClientGoneError())
