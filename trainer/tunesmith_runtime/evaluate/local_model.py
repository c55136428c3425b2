"""A model of this process answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.data.records import Answerable
from tunesmith_runtime.data.tokenizing import prompt_ids
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.batching import Batching
from tunesmith_runtime.evaluate.generating import generate
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress, answer_key


@dataclass
class LocalModel:
    """A causal language model in eval mode, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batching: Batching
    known: Answers

    @property
    def limit(self) -> int | None:
        """How many tokens it can read, when it says so."""
        found: int | None = getattr(self.model.config, "max_position_embeddings", None)
        return found

    def answer(self, records: Sequence[Answerable], generation: Generation, progress: Progress) -> list[str]:
        """Return its answers. Raises DataError, before the first one, when a prompt is longer than it can read."""
        return self.go_on([prompt_ids(record, self.tokenizer) for record in records], generation, progress)

    def go_on(self, prompts: Sequence[Sequence[int]], generation: Generation, progress: Progress) -> list[str]:
        """Return how it continues each prompt of tokens, else as `answer` does."""
        check_lengths(prompts, generation, self.limit)
        keys = [answer_key(self.known, prompt, generation) for prompt in prompts]
        asked = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if self.known.get(key) is None}
        # Equal prompts have equal answers: each is asked for once.
        left = list(asked)
        progress(len(keys) - len(left))

        def finished(texts: Mapping[int, str]) -> None:
            self.known.add({left[index]: {"answer": text} for index, text in texts.items()})
            progress(len(texts))

        if not left:
            return [_answer(self.known, key) for key in keys]
        generate(
            self.model,
            self.tokenizer,
            [asked[key] for key in left],
            generation,
            batching=self.batching,
            finished=finished,
        )
        return [_answer(self.known, key) for key in keys]


def check_lengths(prompts: Sequence[Sequence[int]], generation: Generation, limit: int | None) -> None:
    """Raise DataError when a prompt (token ids) and its answer are more than the `limit` that the model can read."""
    longest = max(range(len(prompts)), key=lambda index: len(prompts[index]))
    if limit and len(prompts[longest]) + generation.max_new_tokens > limit:
        raise DataError(
            f"the prompt of record {longest + 1} has {len(prompts[longest])} tokens; with maxNewTokens "
            f"{generation.max_new_tokens} that is more than the {limit} that the model can read. Shorten the prompt or "
            "lower maxNewTokens"
        )


def _answer(known: Answers, key: str) -> str:
    entry = known.get(key)
    assert entry is not None  # noqa: S101 - all that was unknown has just been asked for
    return str(entry["answer"])
