"""The endpoint of a judge: OpenAI's chat completions, which vLLM, llama.cpp and most services speak."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tunesmith_api import conditions
from tunesmith_api.judging import API_KEY_VARIABLE, Judge
from tunesmith_runtime.errors import ConfigError, RunError

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

_SHOWN = 500
# Statuses that may pass by themselves, besides those of 500 and more.
_PASSING = {408, 409, 429}


class JudgeUnavailableError(RunError):
    """The judge does not answer, or cannot answer now."""

    reason = conditions.JUDGE_UNAVAILABLE


class TooLongError(Exception):
    """A question is longer than the judge can read."""


class Endpoint:
    """A connection to a judge, which several threads may use at the same time."""

    def __init__(self, judge: Judge, client: "OpenAI") -> None:
        self._judge = judge
        self._client = client

    def ask(self, question: str) -> str:
        """Return the judge's reply.

        What is not answered is asked again, with longer and longer pauses. Raises JudgeUnavailableError when it stays
        without an answer, ConfigError when the judge refuses, and TooLongError.
        """
        import openai

        try:
            answer = self._client.chat.completions.create(
                model=self._judge.model,
                messages=[{"role": "user", "content": question}],
                temperature=self._judge.temperature,
                max_tokens=self._judge.max_tokens,
            )
            return answer.choices[0].message.content or ""
        except openai.APIConnectionError as error:  # a time-out is one of them
            reason = _one_line(error.__cause__ or error)
            raise JudgeUnavailableError(
                f"the judge cannot be reached at {self._judge.url}: {reason}; check data.judge.url, the endpoint and "
                "the network between"
            ) from error
        except openai.APIStatusError as error:
            raise self._refused(error) from error
        except (AttributeError, IndexError, TypeError, ValueError, openai.APIResponseValidationError) as error:
            raise ConfigError(
                f"spec.data.judge: {self._judge.url} answers, but not as an OpenAI-compatible endpoint does "
                f"({_one_line(error)}); name the base URL, which most often ends in /v1"
            ) from error

    def _refused(self, error: "APIStatusError") -> Exception:
        url, status, said = self._judge.url, error.status_code, _words(error)
        if status in _PASSING or status >= 500:
            return JudgeUnavailableError(f"the judge at {url} cannot answer now ({status}): {said}")
        if status == 413 or error.code == "context_length_exceeded" or "context length" in said.lower():
            return TooLongError(said)
        hint = ""
        if status in {401, 403}:
            hint = f"; give the endpoint's key as {API_KEY_VARIABLE}, in a cluster by a Secret of spec.secretRefs"
        elif status == 404:
            hint = f"; check data.judge.url and that it has the model {self._judge.model}"
        return ConfigError(f"spec.data.judge: {url} refuses to judge ({status}): {said}{hint}")


@contextmanager
def connected(judge: Judge) -> Iterator[Endpoint]:
    """Give the endpoint of a judge. Its key is never part of what is logged or raised."""
    from openai import OpenAI  # takes seconds: only for those who use it

    with OpenAI(
        base_url=judge.url,
        api_key=_key() or "none",
        timeout=judge.timeout_seconds,
        max_retries=judge.max_retries,
    ) as client:
        yield Endpoint(judge, client)


def _key() -> str:
    return os.environ.get(API_KEY_VARIABLE, "").strip()


def _words(error: "APIStatusError") -> str:
    """Return what the endpoint said of an error."""
    body: Any = error.body
    if isinstance(body, Mapping):
        body = next((body[name] for name in ("message", "detail", "error") if body.get(name)), body)
    return _shortened(str(body or error.response.text or error.message))


def _one_line(error: BaseException) -> str:
    return _shortened(str(error) or type(error).__name__)


def _shortened(text: str) -> str:
    if key := _key():
        text = text.replace(key, "***")
    return " ".join(text.split())[:_SHOWN]
