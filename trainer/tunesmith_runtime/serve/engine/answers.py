"""Answers under way: what has been written, when it is over, and who is told."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from transformers import PreTrainedTokenizerBase

from tunesmith_runtime.serve.engine.questions import Piece, Question, Score
from tunesmith_runtime.serve.engine.sampling import Sampler
from tunesmith_runtime.serve.engine.writing import Writer

# What a request is told: a piece of an answer, or why there will be no more.
News = Piece | Exception


class Asked:
    """A question in work. `tell` is called with its news, on whatever thread they come up."""

    def __init__(self, question: Question, tell: Callable[[News], None]) -> None:
        self.question = question
        self.tell = tell
        self._given_up = threading.Event()

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for the answers any more."""
        return self._given_up.is_set()

    def give_up(self) -> None:
        """Have its answers end, from any thread."""
        self._given_up.set()


@dataclass
class Answer:
    """One answer: it takes tokens until it has ended."""

    asked: Asked
    number: int
    prompt: tuple[int, ...]
    sampler: Sampler
    writer: Writer
    ends: frozenset[int]
    prompt_scores: tuple[Score, ...] = ()
    tokens: int = 0
    finish: str | None = None
    _scores: list[Score] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether it takes no more tokens."""
        return self.finish is not None or self.asked.given_up

    @property
    def left(self) -> int:
        """How many tokens it may still take."""
        return self.asked.question.max_tokens - self.tokens

    def take(self, token: int, score: Score | None) -> None:
        """Add a token, with its score where scores are asked for, and tell what follows."""
        question = self.asked.question
        self.tokens += 1
        self.sampler.took(token)
        ends = token in self.ends and not question.ignores_end
        if score is not None:
            self._scores.append(replace(score, offset=self.writer.length, ends=ends))
        text = "" if ends else self.writer.add(token)
        if ends or self.writer.stopped:
            self.finish = "stop"
        elif not self.left:
            self.finish = "length"
        if self.finish:
            self.close(text)
        elif text or (self.prompt_scores and self.tokens == 1):
            self._tell(text, [each for each in self._scores if each.offset < self.writer.given])

    def close(self, text: str = "") -> None:
        """Tell what is left: there will be no more tokens."""
        stopped = self.writer.stopped
        text += self.writer.end()
        # What is left when a stop string cut the text off in the last step of all.
        self.finish = "stop" if self.writer.stopped else self.finish or "length"
        cut = self.writer.length
        self._tell(text, [each for each in self._scores if not stopped or each.offset < cut])

    def _tell(self, text: str, scores: Sequence[Score]) -> None:
        self._scores = self._scores[len(scores) :]
        self.asked.tell(Piece(self.number, text, tuple(scores), self.prompt_scores, self.finish, self.tokens))
        self.prompt_scores = ()


@dataclass
class Prompt:
    """A prompt of a question with the answers that it is to get."""

    asked: Asked
    tokens: tuple[int, ...]
    answers: list[Answer]


def prompts_of(asked: Asked, tokenizer: PreTrainedTokenizerBase, ends: frozenset[int]) -> Iterator[Prompt]:
    """Yield the prompts of a question, each with its answers to be written."""
    question = asked.question
    for index, tokens in enumerate(question.prompts):
        answers = [
            Answer(
                asked,
                index * question.n + number,
                tokens,
                Sampler(question.sampling, number, question.form.copy() if question.form else None),
                Writer(tokenizer, question.stops, keeps_special=question.keeps_special),
                ends,
            )
            for number in range(question.n)
        ]
        yield Prompt(asked, tokens, answers)
