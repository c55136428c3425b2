"""The engine that requests meet: which models there are, whether it takes requests, and what becomes of them."""

import asyncio
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import ParamSpec, TypeVar

import torch

from tunesmith_api.contract import ServeRun
from tunesmith_runtime.errors import ConfigError, RunError
from tunesmith_runtime.models.adapted import adapter_folder
from tunesmith_runtime.models.embedding import embed
from tunesmith_runtime.serve.engine.alone import Alone
from tunesmith_runtime.serve.engine.answers import Asked, News
from tunesmith_runtime.serve.engine.batched import Batched
from tunesmith_runtime.serve.engine.failing import told
from tunesmith_runtime.serve.engine.questions import Question
from tunesmith_runtime.serve.engine.refusals import Refusal, unavailable, wrong
from tunesmith_runtime.serve.engine.scheduler import Limits, Scheduler
from tunesmith_runtime.serve.engine.served import Served
from tunesmith_runtime.serve.engine.tokens import TokenTexts

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

# How often it is looked whether an adapter that is to go is still in use.
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Model:
    """A loaded model and the queue in front of it."""

    served: Served
    scheduler: Scheduler
    texts: TokenTexts


@dataclass
class Engine:
    """What a serving process has. Its methods belong to the event loop, but for those that say otherwise."""

    config: ServeRun
    adapters: dict[str, str] = field(default_factory=dict)
    ready: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    _model: Model | None = None
    _tokenizing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "tokenizing"))

    @property
    def name(self) -> str:
        """What clients call the model."""
        return self.config.run.name

    @property
    def model(self) -> Model:
        """The model. Raises Refusal while there is none."""
        if self._model is None or not self.ready:
            raise unavailable("the model is being loaded; ask again in a moment")
        return self._model

    @property
    def healthy(self) -> bool:
        """Whether it takes requests."""
        return self.ready and self._model is not None and not self._model.scheduler.draining

    def open(self, served: Served, limits: Limits | None = None) -> Scheduler:
        """Take a model, with the adapters that the run names; return its scheduler. For the model's own thread.

        Raises RunError.
        """
        limits = limits or Limits.of(served.model.device)
        for adapter in self.config.adapters:
            self._check_name(adapter.name)
            served.adapters.load(adapter.name, adapter_folder(adapter.uri))
            self.adapters[adapter.name] = adapter.uri
        writing = Batched(served, limits) if served.batches else Alone(served)
        scheduler = Scheduler(served, writing, limits)
        self._model = Model(served, scheduler, TokenTexts(served.tokenizer))
        return scheduler

    def answer_once(self) -> None:
        """Have the model work for the first time. For its own thread. Raises RunError when it cannot."""
        assert self._model is not None  # noqa: S101 - it is open
        served, scheduler = self._model.served, self._model.scheduler
        start = min(served.ends, default=0)
        if not served.writes:
            with torch.no_grad():
                embed(served.model, [[start]], 0)
            self.ready = True
            return
        news: list[News] = []
        scheduler.submit(Asked(Question(((start,),), max_tokens=1), news.append))
        while not news:
            scheduler.turn()
        if isinstance(news[0], Exception):
            raise RunError(f"the model cannot answer: {news[0]}") from news[0]
        self.ready = True

    def drain(self) -> bool:
        """Take no more requests; return whether there is a model that may have some. A signal handler may call it."""
        if self._model is None:
            return False
        self._model.scheduler.drain()
        return True

    def adapter_of(self, name: str) -> str | None:
        """Return the adapter that clients call by this name; None: the model itself. Raises Refusal."""
        if name == self.name:
            return None
        if name in self.adapters:
            return name
        known = ", ".join([self.name, *self.adapters])
        raise Refusal(
            HTTPStatus.NOT_FOUND,
            f"there is no model {name[:100]} here; there are: {known}",
            param="model",
            code="model_not_found",
        )

    async def aside(self, work: Callable[P, ResultT], *arguments: P.args, **options: P.kwargs) -> ResultT:
        """Return what is worked out on the thread that tokenizes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokenizing, partial(work, *arguments, **options))

    async def embedded(self, rows: list[tuple[int, ...]], adapter: str | None) -> list[list[float]]:
        """Return the normalised vectors of rows of tokens, read in parts between which others are served."""
        served, scheduler = self.model.served, self.model.scheduler
        if not served.embeds:
            raise wrong("this model has virtual tokens, and gives no embeddings", "model")
        padding = served.tokenizer.pad_token_id or 0

        def work(part: list[tuple[int, ...]]) -> list[list[float]]:
            try:
                served.adapters.use(adapter)
                vectors = embed(served.model, part, padding)
            except Exception as error:
                traceback.print_exception(error)
                raise told(error) from error
            found: list[list[float]] = torch.nn.functional.normalize(vectors, dim=-1).tolist()
            return found

        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        vectors: dict[int, list[float]] = {}
        while order:
            if adapter is not None:
                self.adapter_of(adapter)  # it may have been unloaded meanwhile
            part = [order.pop()]
            most = max(1, Limits.of(served.model.device).read // max(1, len(rows[part[0]])))
            part += [order.pop() for _ in range(min(most - 1, len(order)))]
            found = await asyncio.wrap_future(scheduler.call(partial(work, [rows[index] for index in part])))
            vectors.update(zip(part, found, strict=True))
        return [vectors[index] for index in range(len(rows))]

    def load_adapter(self, name: str, uri: str) -> None:
        """Load an adapter while requests are answered. For a thread that is neither the model's nor the event loop's.

        Raises RunError when it cannot be, and Refusal once the server is about to end.
        """
        model = self.model
        self._check_name(name)
        if not model.served.writes:
            raise ConfigError("the model that is served is an encoder, and takes no adapters")
        folder = adapter_folder(uri)
        model.scheduler.call(partial(model.served.adapters.load, name, folder)).result()
        # Others read it meanwhile: it is replaced, never changed.
        self.adapters = {**self.adapters, name: uri}

    def unload_adapter(self, name: str) -> None:
        """Take no more requests for an adapter, and forget it once those that it has are answered.

        For the same threads as `load_adapter`. Raises Refusal once the server is about to end.
        """
        model = self.model
        self.adapters = {other: uri for other, uri in self.adapters.items() if other != name}

        def forget() -> bool:
            if model.scheduler.uses(name):
                return False
            model.served.adapters.unload(name)
            return True

        while not model.scheduler.call(forget).result():
            time.sleep(_POLL_SECONDS)

    def _check_name(self, name: str) -> None:
        if name == self.name or name in self.adapters:
            raise ConfigError(f"the name {name} is taken: adapters and the ModelServe need names of their own")
