"""Answers in a form: of all tokens, those may be chosen that go on to what a JSON schema allows (by llguidance)."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerBase

from tunesmith_runtime.serve.engine.refusals import wrong

# Between two parts of JSON. Without a bound a model may go on with spaces for ever.
_WHITESPACE = r"[ \n]{0,16}"
_PARAMETER = "response_format"


class Form:
    """What has been written of an answer, and what may follow."""

    def __init__(self, matcher: LLMatcher, ends: Iterable[int]) -> None:
        self._matcher = matcher
        self._ends = torch.tensor(sorted(ends))

    def copy(self) -> "Form":
        """Return the same for another answer."""
        return Form(self._matcher.deep_copy(), self._ends.tolist())

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """Return logits (vocabulary) in which what may not follow is impossible.

        Where the grammar has become too large to be followed, only an end may.
        """
        mask = torch.zeros(len(logits), dtype=torch.bool)
        if not self._matcher.is_error():
            found = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8) > 0
            mask[: len(found)] = found[: len(mask)]
        if self._matcher.is_error() or not mask.any():
            mask[self._ends] = True
        return logits.masked_fill(~mask.to(logits.device), -torch.inf)

    def took(self, token: int) -> None:
        """Go on by a token."""
        self._matcher.consume_token(token)


class Forms:
    """The forms that a model's answers can be asked for in."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int, ends: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._ends = ends

    def form(self, schema: Mapping[str, Any]) -> Form:
        """Return the form of a JSON schema, at its beginning. Raises Refusal for one that cannot be kept to."""
        if not self._ends:
            raise wrong(f"{_PARAMETER} is not possible here: no token of this model ends an answer", _PARAMETER)
        grammar = LLMatcher.grammar_from_json_schema(dict(schema), overrides={"whitespace_pattern": _WHITESPACE})
        matcher = LLMatcher(self._words, grammar, log_level=0)
        if matcher.is_error():
            reason = matcher.get_error().splitlines()[0][:500]
            raise wrong(f"{_PARAMETER}: the schema cannot be kept to: {reason}", _PARAMETER)
        return Form(matcher, self._ends)

    @cached_property
    def _words(self) -> LLTokenizer:
        """What each token stands for. It takes half a second, so it is made when it is first needed."""
        try:
            return from_tokenizer(
                self._tokenizer, n_vocab=max(self._vocabulary, len(self._tokenizer)), eos_token=sorted(self._ends)
            )
        except ValueError as error:
            raise wrong(
                f"{_PARAMETER} is not possible here: this model's tokenizer is none of the tokenizers library",
                _PARAMETER,
            ) from error
