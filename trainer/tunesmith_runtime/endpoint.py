"""OpenAI-compatible endpoints, as vLLM, llama.cpp and most services offer them: a question becomes an answer."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tunesmith_api import conditions
from tunesmith_api import endpoint as api
from tunesmith_runtime.errors import ConfigError, RunError
from tunesmith_runtime.spending import Spending

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI, OpenAI

T = TypeVar("T")

_SHOWN = 500
# Statuses that may pass by themselves, besides those of 500 and more.
_PASSING = {408, 409, 429}


class EndpointUnavailableError(RunError):
    """An endpoint does not answer, or cannot answer now."""

    reason = conditions.ENDPOINT_UNAVAILABLE


class EndpointRefusedError(ConfigError):
    """An endpoint answers that it will not, or not in OpenAI's words."""


class TooLongError(Exception):
    """A question is longer than the model behind an endpoint can read."""


@dataclass(frozen=True)
class Caller:
    """Who asks: what sentences call the endpoint, the spec's field that names it, and the variable with its key."""

    called: str
    field: str
    key_variable: str | None
    key_hint: str

    @property
    def key(self) -> str:
        """The key, or nothing."""
        return os.environ.get(self.key_variable, "").strip() if self.key_variable else ""


class Endpoint:
    """A connection to an endpoint, which several threads may use at the same time.

    What is not answered is asked again, with longer and longer pauses. All methods raise EndpointUnavailableError when
    it stays without an answer, EndpointRefusedError when the endpoint refuses, TooLongError, and LimitReachedError.
    """

    def __init__(self, spec: api.Endpoint, caller: Caller, client: "OpenAI", spending: Spending) -> None:
        self.spec = spec
        self.spending = spending
        self._caller = caller
        self._client = client

    def chat(self, messages: Sequence[Mapping[str, str]], **options: Any) -> str:
        """Return the assistant's next turn. `options` are those of OpenAI's chat completions, such as max_tokens."""

        def ask() -> str:
            answer = self._client.chat.completions.create(
                model=self.spec.model,
                messages=list(messages),  # type: ignore[arg-type]
                **options,
            )
            self.spending.use(tokens_in(answer.usage))
            return _text(answer.choices[0].message.content or "")

        return self._answered(ask)

    def complete(self, prompt: str, **options: Any) -> str:
        """Return how a text goes on. `options` are those of OpenAI's completions."""

        def ask() -> str:
            answer = self._client.completions.create(model=self.spec.model, prompt=prompt, **options)
            self.spending.use(tokens_in(answer.usage))
            return _text(answer.choices[0].text)

        return self._answered(ask)

    def asking_once(self) -> "AsyncOpenAI":
        """Return a client for any number of questions at a time, each of which is asked only once. Its owner closes it.

        It raises openai's errors, whose texts may hold the key, and its requests are for the caller to count.
        """
        from openai import DEFAULT_CONNECTION_LIMITS, AsyncOpenAI, DefaultAsyncHttpxClient

        # By default the client lets the others wait, and their waiting would be taken for the endpoint's. The class is
        # that of the client's own HTTP library, whichever it is.
        unlimited = type(DEFAULT_CONNECTION_LIMITS)(max_connections=None)
        return AsyncOpenAI(
            base_url=self.spec.url,
            api_key=self._caller.key or "none",
            timeout=self.spec.timeout_seconds,
            max_retries=0,
            http_client=DefaultAsyncHttpxClient(limits=unlimited),
        )

    def _answered(self, ask: Callable[[], T]) -> T:
        import openai

        url, called = self.spec.url, self._caller.called
        try:
            return ask()
        except openai.APIConnectionError as error:  # a time-out is one of them
            reason = self._one_line(error.__cause__ or error)
            raise EndpointUnavailableError(
                f"{called} cannot be reached at {url}: {reason}; check {self._caller.field}.url, the endpoint and "
                "the network between"
            ) from error
        except openai.APIStatusError as error:
            raise self._refused(error) from error
        except (AttributeError, IndexError, TypeError, ValueError, openai.APIResponseValidationError) as error:
            raise EndpointRefusedError(
                f"{self._caller.field}: {url} answers, but not as an OpenAI-compatible endpoint does "
                f"({self._one_line(error)}); name the base URL, which most often ends in /v1"
            ) from error

    def _refused(self, error: "APIStatusError") -> Exception:
        url, status, said, caller = self.spec.url, error.status_code, self._words(error), self._caller
        if status in _PASSING or status >= 500:
            return EndpointUnavailableError(f"{caller.called} at {url} cannot answer now ({status}): {said}")
        if status == 413 or error.code == "context_length_exceeded" or "context length" in said.lower():
            return TooLongError(said)
        hint = ""
        if status in {401, 403}:
            hint = f"; {caller.key_hint}"
        elif status == 404:
            hint = f"; check {caller.field}.url and that it has the model {self.spec.model}"
        return EndpointRefusedError(f"{caller.field}: {url} refuses to answer ({status}): {said}{hint}")

    def _words(self, error: "APIStatusError") -> str:
        """Return what the endpoint said of an error."""
        body: Any = error.body
        if isinstance(body, Mapping):
            body = next((body[name] for name in ("message", "detail", "error") if body.get(name)), body)
        return self._shortened(str(body or error.response.text or error.message))

    def _one_line(self, error: BaseException) -> str:
        return self._shortened(str(error) or type(error).__name__)

    def _shortened(self, text: str) -> str:
        if key := self._caller.key:
            text = text.replace(key, "***")
        return " ".join(text.split())[:_SHOWN]


def _text(found: Any) -> str:
    """Return what is text, without halves of characters; the client hands on whatever an endpoint has in its place."""
    if not isinstance(found, str):
        raise TypeError(f"an answer is {type(found).__name__}, no text")
    return found.encode("utf-8", "replace").decode()


def tokens_in(usage: Any) -> int | None:
    """Return the tokens of a prompt and its answer, None where the endpoint does not tell."""
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    known = [count for count in counts if isinstance(count, int) and count >= 0]
    return sum(known) if known else None


@contextmanager
def connected(spec: api.Endpoint, caller: Caller, spending: Spending | None = None) -> Iterator[Endpoint]:
    """Give an endpoint. Its key is never part of what is logged or raised. What it is asked counts as `spending`."""
    from openai import OpenAI  # takes seconds: only for those who use it

    counted = spending or Spending()

    class Client(OpenAI):
        """One that counts each request, also those that are sent again."""

        def _prepare_request(self, request: Any) -> None:
            counted.take()

    with Client(
        base_url=spec.url,
        api_key=caller.key or "none",
        timeout=spec.timeout_seconds,
        max_retries=spec.max_retries,
    ) as client:
        yield Endpoint(spec, caller, client, counted)


def caller_of(spec: api.KeyedEndpoint, called: str, field: str) -> Caller:
    """Return who asks an endpoint of an EvalJob; `field` is the path of its field in the spec."""
    secret = spec.api_key_secret_ref
    if secret is None:
        return Caller(called, field, None, f"name the Secret with the endpoint's key in {field}.apiKeySecretRef")
    hint = f"check the key {secret.key} of Secret {secret.name}, or ${secret.variable} in the local shell"
    return Caller(called, field, secret.variable, hint)
