"""A model behind an endpoint answers."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any

from tunesmith_runtime.data.records import Answerable, Completion
from tunesmith_runtime.endpoint import Endpoint, TooLongError
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.evaluate.respondent import Answers, Generation, Progress, answer_key


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
        asked = {
            key: (index, prompt)
            for index, (key, prompt) in enumerate(zip(keys, prompts, strict=True))
            if self.known.get(key) is None
        }
        progress(len(keys) - len(asked))
        asks = {key: partial(self._ask, index, prompt, generation) for key, (index, prompt) in asked.items()}
        self.ask_all(asks, lambda _: progress(1))
        return [str((self.known.get(key) or {})["answer"]) for key in keys]

    def ask_all(self, asks: Mapping[str, Callable[[], str]], answered: Callable[[str], None]) -> None:
        """Call each of `asks`, several at a time, and keep the answers under their keys, at once and in any case.

        `answered` is called with each key. Raises what one of them raises first.
        """
        with ThreadPoolExecutor(self.endpoint.spec.max_concurrency, "answer") as pool:
            waiting = {pool.submit(ask): key for key, ask in asks.items()}
            try:
                for done in as_completed(waiting):
                    self.known.add({waiting[done]: {"answer": done.result()}})
                    answered(waiting[done])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for each, key in waiting.items():
                    if not each.cancelled() and each.exception() is None:
                        self.known.add({key: {"answer": each.result()}})
                raise

    def _ask(self, index: int, prompt: Any, generation: Generation) -> str:
        options: dict[str, Any] = {"max_tokens": generation.max_new_tokens, "temperature": generation.temperature}
        if generation.temperature:
            options["seed"] = generation.seed
        try:
            if isinstance(prompt, str):
                return self.endpoint.complete(prompt, **options).strip()
            return self.endpoint.chat(prompt, **options).strip()
        except TooLongError as error:
            raise DataError(
                f"the prompt of record {index + 1} is longer than {self.endpoint.spec.model} at "
                f"{self.endpoint.spec.url} can read: {error}. Shorten it or lower maxNewTokens"
            ) from error


def _prompt(record: Answerable) -> str | list[dict[str, str]]:
    if isinstance(record, Completion):
        return record.prompt
    return [{"role": turn.role, "content": turn.content} for turn in record.messages[:-1]]
