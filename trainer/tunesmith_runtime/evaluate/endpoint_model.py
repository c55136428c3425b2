"""A model behind an endpoint answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tunesmith_runtime.data.records import Answerable, Completion
from tunesmith_runtime.endpoint import Endpoint, TooLongError
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.asking import ask_all
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress, answer_key
from tunesmith_runtime.storage.journal import Entry


@dataclass
class EndpointModel:
    """A model that is asked over HTTP, several questions at a time.

    A conversation is put to chat completions, raw text to completions.
    """

    endpoint: Endpoint
    known: Answers

    def answer(self, records: Sequence[Answerable], generation: Generation, progress: Progress) -> list[str]:
        """Return its answers.

        All that was answered is kept. Raises EndpointUnavailableError or EndpointRefusedError as soon as a question
        stays without an answer, and DataError for one that is longer than the model can read.
        """
        prompts = [_prompt(record) for record in records]
        keys = [answer_key(self.known, prompt, generation) for prompt in prompts]
        # Equal prompts have equal answers: each is asked for once.
        questions = {
            key: partial(self._ask, index, prompt, generation)
            for index, (key, prompt) in enumerate(zip(keys, prompts, strict=True))
        }
        progress(len(keys) - len(questions))
        ask_all(questions, self.known, self.endpoint.spec.max_concurrency, progress)
        return [str((self.known.get(key) or {})["answer"]) for key in keys]

    def _ask(self, index: int, prompt: Any, generation: Generation) -> Entry:
        options: dict[str, Any] = {"max_tokens": generation.max_new_tokens, "temperature": generation.temperature}
        if generation.temperature:
            options["seed"] = generation.seed
        try:
            if isinstance(prompt, str):
                return {"answer": self.endpoint.complete(prompt, **options).strip()}
            return {"answer": self.endpoint.chat(prompt, **options).strip()}
        except TooLongError as error:
            raise DataError(
                f"the prompt of record {index + 1} is longer than {self.endpoint.spec.model} at "
                f"{self.endpoint.spec.url} can read: {error}. Shorten it or lower maxNewTokens"
            ) from error


def _prompt(record: Answerable) -> str | list[dict[str, str]]:
    if isinstance(record, Completion):
        return record.prompt
    return [{"role": turn.role, "content": turn.content} for turn in record.messages[:-1]]
