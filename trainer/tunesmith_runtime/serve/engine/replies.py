"""Pieces of answers become the JSON of OpenAI's API: whole, or as the chunks of a stream."""

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tunesmith_runtime.serve.engine.questions import Piece, Question, Score
from tunesmith_runtime.serve.engine.tokens import TokenTexts

Object = dict[str, Any]


class Reply:
    """The reply to one request; `texts` are what each token stands for."""

    kind = chunk_kind = prefix = ""

    def __init__(self, model: str, question: Question, texts: TokenTexts, *, with_usage: bool = False) -> None:
        self._question = question
        self._texts = texts
        self._with_usage = with_usage
        self._model = model
        self._id = f"{self.prefix}-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._written = 0

    def whole(self, pieces: Iterable[Piece]) -> Object:
        """Return the answer to a request that wants it at once."""
        by_answer: dict[int, list[Piece]] = {}
        for piece in pieces:
            by_answer.setdefault(piece.answer, []).append(piece)
        joined = [_joined(each) for _, each in sorted(by_answer.items())]
        self._written = sum(each.tokens for each in joined)
        return self._envelope(self.kind, [self._choice(each) for each in joined]) | {"usage": self._usage()}

    def opening(self) -> Iterator[Object]:
        """Yield what a stream begins with."""
        yield from ()

    def chunk(self, piece: Piece) -> Object:
        """Return a piece as a chunk of a stream."""
        if piece.finish:
            self._written += piece.tokens
        return self._chunk([self._delta(piece)])

    def closing(self) -> Iterator[Object]:
        """Yield what a stream ends with."""
        if self._with_usage:
            yield self._envelope(self.chunk_kind, []) | {"usage": self._usage()}

    def _chunk(self, choices: list[Object]) -> Object:
        return self._envelope(self.chunk_kind, choices) | ({"usage": None} if self._with_usage else {})

    def _envelope(self, kind: str, choices: list[Object]) -> Object:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model, "choices": choices}

    def _usage(self) -> Object:
        prompt = sum(len(each) for each in self._question.prompts)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._written,
            "total_tokens": prompt + self._written,
        }

    def _choice(self, piece: Piece) -> Object:
        raise NotImplementedError

    def _delta(self, piece: Piece) -> Object:
        raise NotImplementedError


class ChatReply(Reply):
    """The reply to a chat."""

    kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def opening(self) -> Iterator[Object]:
        """Yield the roles of the answers."""
        for index in range(self._question.n):
            delta = {"role": "assistant", "content": ""}
            yield self._chunk([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])

    def _choice(self, piece: Piece) -> Object:
        return self._about(piece) | {"message": {"role": "assistant", "content": piece.text, "refusal": None}}

    def _delta(self, piece: Piece) -> Object:
        return self._about(piece) | {"delta": {"content": piece.text} if piece.text else {}}

    def _about(self, piece: Piece) -> Object:
        scores = None
        if self._question.logprobs is not None:
            content = [
                self._token(each.token, each.logprob)
                | {"top_logprobs": [self._token(token, logprob) for token, logprob in each.top]}
                for each in piece.scores
                if not each.ends
            ]
            scores = {"content": content, "refusal": None}
        return {"index": piece.answer, "logprobs": scores, "finish_reason": piece.finish}

    def _token(self, token: int, logprob: float | None) -> Object:
        return {
            "token": self._texts.text_of(token),
            "logprob": logprob,
            "bytes": list(self._texts.bytes_of(token)),
        }


class CompletionReply(Reply):
    """The reply to a completion; `echo` are the prompts' texts where they are to be repeated."""

    kind = chunk_kind = "text_completion"
    prefix = "cmpl"

    def __init__(
        self,
        model: str,
        question: Question,
        texts: TokenTexts,
        *,
        with_usage: bool = False,
        echo: Sequence[str] | None = None,
    ) -> None:
        super().__init__(model, question, texts, with_usage=with_usage)
        self._echo = echo
        self._begun: set[int] = set()

    def _choice(self, piece: Piece) -> Object:
        text, before = piece.text, 0
        if self._echo is not None:
            prompt = self._echo[piece.answer // self._question.n]
            before = len(prompt)
            if piece.answer not in self._begun:
                text = prompt + text
        self._begun.add(piece.answer)
        scores = None if self._question.logprobs is None else self._scores(piece, before)
        return {"index": piece.answer, "text": text, "logprobs": scores, "finish_reason": piece.finish}

    _delta = _choice

    def _scores(self, piece: Piece, before: int) -> Object:
        """Return the likelihoods of a piece's tokens; `before` characters of the prompt come before the answer's."""
        offset, offsets = 0, []
        for each in piece.prompt_scores:
            offsets.append(offset)
            offset += len(self._texts.text_of(each.token))
        scores: list[Score] = [*piece.prompt_scores, *piece.scores]
        return {
            "tokens": [self._texts.text_of(each.token) for each in scores],
            "token_logprobs": [each.logprob for each in scores],
            "top_logprobs": [self._top(each) for each in scores],
            "text_offset": [*offsets, *(before + each.offset for each in piece.scores)],
        }

    def _top(self, score: Score) -> Object | None:
        if score.logprob is None:
            return None
        found: Object = {}
        # Halves of characters look alike; the likelier one stays.
        for token, logprob in score.top:
            found.setdefault(self._texts.text_of(token), logprob)
        found.setdefault(self._texts.text_of(score.token), score.logprob)
        return found


def _joined(pieces: Sequence[Piece]) -> Piece:
    last = pieces[-1]
    return Piece(
        last.answer,
        "".join(each.text for each in pieces),
        tuple(score for each in pieces for score in each.scores),
        pieces[0].prompt_scores,
        last.finish,
        last.tokens,
    )
