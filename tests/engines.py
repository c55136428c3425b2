"""The built-in engine on this machine: the scheduler of a tiny model, alone or behind HTTP in this process."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tunesmith_api.contract import RunIdentity, ServedAdapter, ServeRun
from tunesmith_runtime.serve.engine.alone import Alone
from tunesmith_runtime.serve.engine.answers import Asked, News
from tunesmith_runtime.serve.engine.batched import Batched
from tunesmith_runtime.serve.engine.engine import Engine
from tunesmith_runtime.serve.engine.questions import Piece, Question, Score
from tunesmith_runtime.serve.engine.scheduler import Limits, Scheduler
from tunesmith_runtime.serve.engine.served import Served, load
from tunesmith_runtime.serve.engine.serving import listening

NAME = "bot"


@dataclass
class Desk:
    """A model's scheduler, driven by the test's own thread."""

    served: Served
    scheduler: Scheduler
    turns: int = 0

    def ask(self, question: Question) -> "Told":
        """Hand in a question; the answers come as the scheduler takes its turns."""
        told = Told()
        told.asked = Asked(question, told.news.append)
        self.scheduler.submit(told.asked)
        return told

    def turn(self, times: int = 1) -> None:
        """Let the scheduler do its work so many times."""
        for _ in range(times):
            self.scheduler.turn()
            self.turns += 1

    def finish(self, *told: "Told") -> None:
        """Turn until all of these questions are answered."""
        for _ in range(10_000):
            if all(each.over for each in told):
                return
            self.turn()
        raise AssertionError("the answers never end")

    def answer(self, question: Question) -> "Told":
        """Return the answers to a question that is asked alone."""
        told = self.ask(question)
        self.finish(told)
        return told


@dataclass
class Told:
    """What a question was told so far."""

    news: list[News] = field(default_factory=list)
    asked: Asked = field(init=False)

    @property
    def pieces(self) -> list[Piece]:
        """The pieces. Raises what came in their place."""
        for each in self.news:
            if isinstance(each, Exception):
                raise each
        return [each for each in self.news if isinstance(each, Piece)]

    @property
    def over(self) -> bool:
        """Whether all answers have ended."""
        answers = len(self.asked.question.prompts) * self.asked.question.n
        return self.asked.given_up or sum(each.finish is not None for each in self.pieces) == answers

    def text(self, answer: int = 0) -> str:
        """Return the text of an answer."""
        return "".join(each.text for each in self.pieces if each.answer == answer)

    def scores(self, answer: int = 0) -> list[Score]:
        """Return the scores of an answer's tokens."""
        return [score for each in self.pieces if each.answer == answer for score in each.scores]

    def tokens(self, answer: int = 0) -> list[int]:
        """Return the tokens of an answer that was asked for with logprobs."""
        return [score.token for score in self.scores(answer)]

    def last(self, answer: int = 0) -> Piece:
        """Return the last piece of an answer."""
        return [each for each in self.pieces if each.answer == answer][-1]


def desk(served: Served, limits: Limits | None = None, *, together: bool | None = None) -> Desk:
    """Return the scheduler of a model; `together` says whether answers are written in batches."""
    limits = limits or Limits()
    batches = served.batches if together is None else together
    return Desk(served, Scheduler(served, Batched(served, limits) if batches else Alone(served), limits))


def plain_logprobs(model: PreTrainedModel, tokens: Sequence[int]) -> torch.Tensor:
    """Return what a plain forward pass says of every token that may follow each place (places, vocabulary)."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0]
    return logits.float().log_softmax(dim=-1)


def run_of(model: Path, **adapters: Path) -> ServeRun:
    """Return a run config that serves a folder as `bot`, with adapters by name."""
    return ServeRun(
        run=RunIdentity(kind="ModelServe", namespace="default", name=NAME, uid="u", attempt=1),
        model=f"file://{model}",
        adapters=tuple(ServedAdapter(name=name, uri=f"file://{folder}") for name, folder in adapters.items()),
        port=0,
    )


@contextmanager
def served_over_http(config: ServeRun, limits: Limits | None = None) -> Iterator[tuple[str, Engine]]:
    """Serve a run's model in this process; give the URL and the engine."""
    engine = Engine(config)
    with socket.create_server(("127.0.0.1", 0)) as listener, listening(engine, listener) as port:
        scheduler = engine.open(load(Path(config.model.removeprefix("file://"))), limits)
        engine.answer_once()
        thread = threading.Thread(target=scheduler.run, name="model", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}", engine
        finally:
            scheduler.drain()
            thread.join(30)
            assert not thread.is_alive()
