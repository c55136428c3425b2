"""One thread owns the model: it takes requests as they come, and has a part of all of them done in each turn."""

import queue
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from tunesmith_runtime.errors import AcceleratorFailedError
from tunesmith_runtime.serve.engine.answers import Asked, Prompt, prompts_of
from tunesmith_runtime.serve.engine.refusals import unavailable, wrong
from tunesmith_runtime.serve.engine.served import Served

ResultT = TypeVar("ResultT")
_Call = tuple["Future[Any]", Callable[[], Any]]


@dataclass(frozen=True)
class Limits:
    """What is worked on at the same time at most.

    `tokens` are places of keys and values, padding included; a single prompt may take more. `read` tokens of prompts
    are read in one turn, so that what is being written never waits for long. `waiting` answers may wait.
    """

    rows: int = 32
    tokens: int = 16384
    read: int = 1024
    waiting: int = 256

    @classmethod
    def of(cls, device: torch.device) -> "Limits":
        """Return those of a device."""
        return cls() if device.type == "cpu" else cls(rows=128, tokens=262144, read=8192, waiting=1024)


class Waiting:
    """Prompts that nobody works on yet, in the order in which they came, apart for each adapter."""

    def __init__(self) -> None:
        self._prompts: dict[str | None, deque[Prompt]] = {}

    def add(self, prompt: Prompt) -> None:
        """Put a prompt behind the others of its adapter."""
        self._prompts.setdefault(prompt.asked.question.adapter, deque()).append(prompt)

    def next(self, at_work: Callable[[str | None], int] = lambda adapter: 0) -> Prompt | None:
        """Return whose turn it is: of the adapter that has the fewest rows `at_work`, the one that came first."""
        waiting = [adapter for adapter, prompts in self._prompts.items() if prompts]
        return self._prompts[min(waiting, key=at_work)][0] if waiting else None

    def of(self, adapter: str | None) -> Iterator[Prompt]:
        """Yield an adapter's prompts, the first first."""
        yield from self._prompts.get(adapter, ())

    def take(self, prompt: Prompt) -> None:
        """Take out a prompt; an adapter that has been served comes after the others."""
        adapter = prompt.asked.question.adapter
        prompts = self._prompts.pop(adapter)
        prompts.remove(prompt)
        if prompts:
            self._prompts[adapter] = prompts

    def drop(self, unwanted: Callable[[Prompt], bool]) -> int:
        """Take out prompts; return how many answers they were to get."""
        dropped = 0
        for adapter, prompts in list(self._prompts.items()):
            left: deque[Prompt] = deque()
            for prompt in prompts:
                # Asked once: another thread may make it unwanted meanwhile.
                if unwanted(prompt):
                    dropped += len(prompt.answers)
                else:
                    left.append(prompt)
            self._prompts[adapter] = left
        return dropped


class Writing(Protocol):
    """How answers are written: each turn does a part of the work."""

    @property
    def busy(self) -> bool:
        """Whether answers are under way."""

    def uses(self, adapter: str) -> bool:
        """Return whether answers of an adapter are under way."""

    def turn(self, waiting: Waiting) -> int:
        """Do a part; return how many of the waiting answers were begun."""


class Scheduler:
    """The queue in front of a model. `run` is the thread that owns it; all else may be called from one other thread."""

    def __init__(self, served: Served, writing: Writing, limits: Limits) -> None:
        self._served = served
        self._writing = writing
        self._limits = limits
        self._inbox: queue.SimpleQueue[Asked | _Call | None] = queue.SimpleQueue()
        self._waiting = Waiting()
        # Each is counted by one thread alone.
        self._came = self._begun = 0
        self.draining = False

    def submit(self, asked: Asked) -> None:
        """Have a question answered. Raises Refusal when too many wait, it asks for too many, or no more are taken."""
        self._check_open()
        answers = len(asked.question.prompts) * asked.question.n
        if answers > self._limits.waiting:
            raise wrong(f"the request asks for {answers} answers; ask for at most {self._limits.waiting} at once", "n")
        if self._came - self._begun + answers > self._limits.waiting:
            raise unavailable(f"{self._limits.waiting} answers wait already; ask again in a moment")
        self._came += answers
        self._inbox.put(asked)

    def call(self, work: Callable[[], ResultT]) -> "Future[ResultT]":
        """Have something done between two turns. Raises Refusal when no more is taken."""
        self._check_open()
        future: Future[ResultT] = Future()
        self._inbox.put((future, work))
        return future

    def drain(self) -> None:
        """Take no more; `run` returns once all that was taken is done. A signal handler may call it."""
        self.draining = True
        self._inbox.put(None)

    def run(self) -> None:
        """Work until drained. Raises AcceleratorFailedError when the device is lost."""
        while True:
            idle = not self.busy and self._waiting.next() is None
            if idle and self.draining and self._inbox.empty():
                return
            self.turn(wait=idle)

    @torch.no_grad()
    def turn(self, *, wait: bool = False) -> None:
        """Take what has come, and do a part of the work; `wait` for something to come first."""
        self._take(wait)
        self._begun += self._waiting.drop(lambda prompt: prompt.asked.given_up)
        self._begun += self._writing.turn(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether answers are under way."""
        return self._writing.busy

    def uses(self, adapter: str) -> bool:
        """Return whether answers of an adapter are under way, or wait. For the model's own thread."""
        return self._writing.uses(adapter) or next(self._waiting.of(adapter), None) is not None

    def _take(self, wait: bool) -> None:
        while wait or not self._inbox.empty():
            item = self._inbox.get()
            wait = False
            if isinstance(item, Asked):
                for prompt in prompts_of(item, self._served.tokenizer, self._served.ends):
                    self._waiting.add(prompt)
            elif item is not None:
                _settle(*item)

    def _check_open(self) -> None:
        if self.draining:
            raise unavailable("the server is about to end, and takes no more requests")


def _settle(future: "Future[Any]", work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except Exception as error:  # whoever called handles it
        future.set_exception(error)
        if lost := AcceleratorFailedError.caused_by(error):
            raise lost from error
