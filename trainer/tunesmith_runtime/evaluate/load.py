"""An endpoint under load: many requests at a time, and how long each of them takes.

A closed loop keeps a number of clients busy; an open one lets requests arrive at random, whether or not those before
them are answered, as people do (Schroeder, Wierman and Harchol-Balter 2006, Open versus closed).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith_runtime.endpoint import Endpoint, tokens_in
from tunesmith_runtime.evaluate.respondent import Progress

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

Prompt = Sequence[dict[str, str]]

# How often progress is told: what tells it takes time of the processor that clients run on.
_TELL_SECONDS = 1.0


@dataclass(frozen=True)
class Timing:
    """How a request went: times in seconds from the beginning of the load.

    `first` is when its first token came, None if there was none. `tokens` are those of the answer, counted by the
    endpoint, else by its chunks. `error` is a word for why it was not answered. `used` are the tokens of prompt and
    answer, where the endpoint tells.
    """

    begun: float
    first: float | None
    ended: float
    tokens: int
    counted: bool
    error: str = ""
    used: int | None = None


@dataclass(frozen=True)
class Load:
    """How requests come: from `clients` that wait for their answers, or at random with a `rate` per second."""

    clients: int | None
    rate: float | None
    max_tokens: int
    seed: int


async def put_under_load(endpoint: Endpoint, prompts: Sequence[Prompt], load: Load, progress: Progress) -> list[Timing]:
    """Return how each request went, in the order of the prompts. One more goes before them, which is not timed.

    `progress` is called, from another thread, with the number of requests that have ended since. All requests are
    counted before the first one, so that no counting takes of their time. Raises LimitReachedError.
    """
    spending = endpoint.spending
    spending.take(1 + len(prompts))
    async with endpoint.asking_once() as client:
        asking = _Asking(client, endpoint.spec.model, endpoint.spec.timeout_seconds, load.max_tokens)
        first = await asking.find_out(prompts[0])
        if not first.error:
            spending.use(first.used)

        def tell(requests: int, tokens: int) -> None:
            spending.use(tokens)
            progress(requests)

        telling = _Telling(tell)
        asking.zero = time.perf_counter()

        async def ask(number: int, begun: float) -> Timing:
            timing = await asking.ask(prompts[number], begun)
            telling.one_more(timing.used or 0)
            return timing

        if load.rate is None:
            found = await _closed(ask, asking.now, len(prompts), load.clients or 1)
        else:
            gaps = np.random.default_rng(load.seed).exponential(1 / load.rate, len(prompts))
            found = await _open(ask, asking.now, [float(at) for at in gaps.cumsum()])
        await telling.end()
    return found


_Ask = Callable[[int, float], Awaitable[Timing]]


async def _closed(ask: _Ask, now: Callable[[], float], requests: int, clients: int) -> list[Timing]:
    found: dict[int, Timing] = {}
    numbers = iter(range(requests))

    async def client() -> None:
        for number in numbers:
            found[number] = await ask(number, now())

    async with asyncio.TaskGroup() as group:
        for _ in range(min(clients, requests)):
            group.create_task(client())
    return [found[number] for number in range(requests)]


async def _open(ask: _Ask, now: Callable[[], float], arrivals: Sequence[float]) -> list[Timing]:
    async def arrive(number: int, at: float) -> Timing:
        # A request begins when it arrives, however busy its client is: else a slow one would hide its own slowness.
        return await ask(number, at)

    tasks = []
    async with asyncio.TaskGroup() as group:
        for number, at in enumerate(arrivals):
            await asyncio.sleep(max(0.0, at - now()))
            tasks.append(group.create_task(arrive(number, at)))
    return [task.result() for task in tasks]


@dataclass
class _Asking:
    """Asks for one streamed answer at a time, and times it."""

    client: "AsyncOpenAI"
    model: str
    timeout: float
    max_tokens: int
    zero: float = 0.0
    options: dict[str, Any] = field(default_factory=lambda: {"stream_options": {"include_usage": True}})

    def now(self) -> float:
        return time.perf_counter() - self.zero

    async def find_out(self, prompt: Prompt) -> Timing:
        """Ask once, to learn whether the endpoint takes to being asked for the numbers of tokens."""
        found = await self.ask(prompt, 0.0)
        if found.error in {"status 400", "status 422"}:
            self.options = {}
            return replace(found, error="")
        return found

    async def ask(self, prompt: Prompt, begun: float) -> Timing:
        first: float | None = None
        chunks, tokens, used = 0, None, None
        finished = False
        error = ""
        try:
            async with asyncio.timeout(self.timeout):
                create: Any = self.client.chat.completions.create
                stream: AsyncStream[ChatCompletionChunk] = await create(
                    model=self.model,
                    messages=list(prompt),
                    max_tokens=self.max_tokens,
                    temperature=0.0,
                    stream=True,
                    **self.options,
                )
                async with stream:
                    async for chunk in stream:
                        if chunk.usage:
                            tokens, used = chunk.usage.completion_tokens, tokens_in(chunk.usage)
                        for choice in chunk.choices:
                            finished = finished or choice.finish_reason is not None
                            if _writes(choice.delta):
                                chunks += 1
                                first = self.now() if first is None else first
        except Exception as raised:  # whatever goes wrong with one request is its outcome, and the load goes on
            error = _in_a_word(raised)
        else:
            error = "" if finished else "broken stream"
        counted = tokens is not None
        return Timing(begun, first, self.now(), chunks if tokens is None else tokens, counted, error, used)


def _writes(delta: Any) -> bool:
    """Tell whether a chunk brings text of the answer, or of the thoughts before it."""
    return any(getattr(delta, name, None) for name in ("content", "reasoning_content", "reasoning"))


def _in_a_word(error: Exception) -> str:
    import openai

    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return "time-out"
    if isinstance(error, openai.APIStatusError):
        return f"status {error.status_code}"
    if isinstance(error, openai.APIConnectionError):
        return "no connection"
    return "broken stream"


class _Telling:
    """Tells of progress in a thread of its own, now and then, so that the load does not wait for it."""

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        """Take what is told the numbers of requests that have ended, and of tokens, since the last time."""
        self._telling_of = tell
        self._untold, self._tokens = 0, 0
        self._told = time.monotonic()
        self._telling: asyncio.Future[None] | None = None

    def one_more(self, tokens: int) -> None:
        self._untold += 1
        self._tokens += tokens
        idle = self._telling is None or self._telling.done()
        if idle and time.monotonic() - self._told >= _TELL_SECONDS:
            self._tell()

    async def end(self) -> None:
        if self._telling is not None:
            await self._telling
        self._tell()
        assert self._telling is not None  # noqa: S101 - what _tell has made
        await self._telling

    def _tell(self) -> None:
        self._told = time.monotonic()
        untold, tokens, self._untold, self._tokens = self._untold, self._tokens, 0, 0
        self._telling = asyncio.get_running_loop().run_in_executor(None, self._telling_of, untold, tokens)
