"""Answers of many requests are written together: those of the model and of each adapter in a batch of their own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from tunesmith_runtime.models.decoding import Reading, Rows
from tunesmith_runtime.serve.engine.answers import Answer, Prompt
from tunesmith_runtime.serve.engine.failing import failing
from tunesmith_runtime.serve.engine.questions import Score
from tunesmith_runtime.serve.engine.sampling import choose, score
from tunesmith_runtime.serve.engine.scheduler import Limits, Waiting
from tunesmith_runtime.serve.engine.served import Served

# Places that are kept for what a row will write; answers may well be shorter than they are allowed to be.
_RESERVE = 256
# Where the likelihood of each token of a prompt is asked for, there are as many rows of logits: at most so many numbers
# of them at once, or rows.
_LOGITS, _FEWEST_SCORED = 2**25, 64
# Prompts are read together when the longest has no more tokens than this many times the shortest, and these more.
_LIKE, _SLACK = 2, 64


@dataclass
class _Begun:
    """Prompts of an adapter that are being read."""

    adapter: str | None
    prompts: list[Prompt]
    reading: Reading
    # Of each prompt.
    scores: list[list[Score]]

    @property
    def asks_for_scores(self) -> bool:
        return self.prompts[0].asked.question.scores_prompt

    @property
    def answers(self) -> list[Answer]:
        return [answer for prompt in self.prompts for answer in prompt.answers]


@dataclass
class _Group:
    """The rows of an adapter, and the answers that they write; `tokens` are their last ones."""

    rows: Rows
    answers: list[Answer] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)


class Batched:
    """Writes in batches that answers join and leave at any step."""

    def __init__(self, served: Served, limits: Limits) -> None:
        self._served = served
        self._limits = limits
        self._groups: dict[str | None, _Group] = {}
        self._begun: _Begun | None = None
        self._scored = max(_FEWEST_SCORED, _LOGITS // served.vocabulary)

    @property
    def busy(self) -> bool:
        """Whether answers are under way."""
        return self._begun is not None or bool(self._groups)

    def uses(self, adapter: str) -> bool:
        """Return whether answers of an adapter are under way."""
        return adapter in self._groups or (self._begun is not None and self._begun.adapter == adapter)

    def turn(self, waiting: Waiting) -> int:
        """Read a part of what waits, and write one token of every answer; return how many answers were begun."""
        for adapter in list(self._groups):
            self._let_go(adapter)
        started = self._begin(waiting) if self._begun is None else 0
        if self._begun is not None:
            begun = self._begun
            with failing(begun.answers) as trouble:
                self._read(begun)
            if trouble:
                self._begun = None
        for adapter, group in list(self._groups.items()):
            with failing(group.answers) as trouble:
                self._write(adapter, group)
            if trouble:
                self._groups.pop(adapter, None)
        return started

    def _begin(self, waiting: Waiting) -> int:
        """Begin to read what has its turn, and what is like it; return how many answers that are."""
        first = waiting.next(lambda adapter: len(self._groups[adapter].answers) if adapter in self._groups else 0)
        if first is None or not self._fits([first]):
            return 0
        adapter, chosen = first.asked.question.adapter, [first]
        if len(first.tokens) <= self._at_once(first):
            for prompt in waiting.of(adapter):
                if prompt is not first and self._goes_with(chosen, prompt):
                    chosen.append(prompt)
        for prompt in chosen:
            waiting.take(prompt)
        answers = [answer for prompt in chosen for answer in prompt.answers]
        with failing(answers):
            reading = Reading(self._served.model, [prompt.tokens for prompt in chosen])
            self._begun = _Begun(adapter, chosen, reading, [[] for _ in chosen])
        return len(answers)

    def _goes_with(self, chosen: list[Prompt], prompt: Prompt) -> bool:
        lengths = [len(each.tokens) for each in (*chosen, prompt)]
        return (
            prompt.asked.question.scores_prompt == chosen[0].asked.question.scores_prompt
            and max(lengths) <= _LIKE * min(lengths) + _SLACK
            and len(lengths) * max(lengths) <= self._at_once(prompt)
            and self._fits([*chosen, prompt])
        )

    def _at_once(self, prompt: Prompt) -> int:
        """Return how many tokens are read in a turn, of prompts like this one."""
        return min(self._limits.read, self._scored) if prompt.asked.question.scores_prompt else self._limits.read

    def _fits(self, prompts: Sequence[Prompt]) -> bool:
        """Return whether there is room for these prompts' answers besides what is being written."""
        if not self._groups and len(prompts) == 1:
            return True
        adapter = prompts[0].asked.question.adapter
        sizes = {each: (len(group.rows), group.rows.width) for each, group in self._groups.items()}
        rows, width = sizes.get(adapter, (0, 0))
        for prompt in prompts:
            rows += len(prompt.answers)
            width = max(width, len(prompt.tokens) + min(_RESERVE, prompt.asked.question.max_tokens))
        sizes[adapter] = rows, width
        return (
            sum(rows for rows, _ in sizes.values()) <= self._limits.rows
            and sum(rows * width for rows, width in sizes.values()) <= self._limits.tokens
        )

    def _read(self, begun: _Begun) -> None:
        """Read a piece; when that was the last one, choose the first token of each answer."""
        if all(answer.over for answer in begun.answers):
            self._begun = None
            return
        self._served.adapters.use(begun.adapter)
        most = self._at_once(begun.prompts[0]) if len(begun.prompts) == 1 else None
        logits = begun.reading.advance(most, every=begun.asks_for_scores)
        if begun.asks_for_scores:
            for prompt, scores, rows in zip(begun.prompts, begun.scores, logits, strict=True):
                _add_scores(prompt, scores, rows)
        if begun.reading.left:
            return
        self._begun = None
        times = [len(prompt.answers) for prompt in begun.prompts]
        answers, index = begun.answers, torch.arange(len(times)).repeat_interleave(torch.tensor(times))
        for prompt, scores in zip(begun.prompts, begun.scores, strict=True):
            for answer in prompt.answers:
                answer.prompt_scores = tuple(scores)
                if not answer.left:  # only the prompt was asked for
                    answer.close()
        if all(answer.over for answer in answers):
            return
        tokens = _take(logits[index.to(logits.device), -1], answers)
        left = [row for row, answer in enumerate(answers) if not answer.over]
        if left:
            rows = Rows(self._served.model)
            rows.join([begun.reading.read().repeat(times)])
            if len(left) < len(answers):
                rows.keep(left)
            self._join(begun.adapter, rows, [answers[row] for row in left], [tokens[row] for row in left])

    def _join(self, adapter: str | None, rows: Rows, answers: list[Answer], tokens: list[int]) -> None:
        group = self._groups.get(adapter)
        if group is None:
            self._groups[adapter] = _Group(rows, answers, tokens)
            return
        group.rows.join([rows.read()])
        group.answers += answers
        group.tokens += tokens

    def _write(self, adapter: str | None, group: _Group) -> None:
        self._served.adapters.use(adapter)
        group.tokens = _take(group.rows.step(torch.tensor(group.tokens)), group.answers)
        self._let_go(adapter)

    def _let_go(self, adapter: str | None) -> None:
        """Take out the rows of answers that are over."""
        group = self._groups[adapter]
        left = [row for row, answer in enumerate(group.answers) if not answer.over]
        if not left:
            del self._groups[adapter]
        elif len(left) < len(group.answers):
            group.rows.keep(left)
            group.answers = [group.answers[row] for row in left]
            group.tokens = [group.tokens[row] for row in left]


def _add_scores(prompt: Prompt, scores: list[Score], logits: torch.Tensor) -> None:
    """Note how likely the prompt's tokens were, by the logits of a piece: its last places, or of a padded row all."""
    tokens, top = prompt.tokens, prompt.asked.question.logprobs or 0
    if not scores:
        scores.append(Score(tokens[0]))
        logits = logits[max(0, len(logits) - len(tokens)) :]
    followed = tokens[len(scores) :][: len(logits)]
    if followed:
        scores += score(logits[: len(followed)], followed, top)


def _take(logits: torch.Tensor, answers: Sequence[Answer]) -> list[int]:
    """Choose the next token of each answer; return them."""
    tokens = choose(logits, [answer.sampler for answer in answers])
    for row, (token, answer) in enumerate(zip(tokens, answers, strict=True)):
        if answer.over:
            continue
        top = answer.asked.question.logprobs
        answer.take(token, None if top is None else score(logits[row : row + 1], [token], top)[0])
    return tokens
