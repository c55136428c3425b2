"""A judge behind an endpoint replies to questions about answers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from tunesmith_api.endpoint import KeyedEndpoint
from tunesmith_runtime.endpoint import Endpoint, TooLongError, caller_of, connected
from tunesmith_runtime.evaluate.asking import ask_all
from tunesmith_runtime.evaluate.judge_questions import VERSION
from tunesmith_runtime.evaluate.respondent import Answers, Progress
from tunesmith_runtime.evaluate.samples import NotMeasuredError
from tunesmith_runtime.storage.journal import Entry

T = TypeVar("T")

# Of all replies: with more unreadable ones a suite has no result.
UNREADABLE = 0.1
TOO_LONG = "(longer than the judge can read)"


class Judging(Protocol):
    """What a spec says of a judge."""

    @property
    def endpoint(self) -> KeyedEndpoint:
        """Return where it is."""

    @property
    def max_tokens(self) -> int:
        """Return how many tokens its reply may have."""


@dataclass(frozen=True)
class Judge:
    """A judge, and what it has replied already, whoever's answers it was about."""

    suite: Judging
    endpoint: Endpoint
    known: Answers

    def replies(self, questions: Sequence[str], progress: Progress) -> list[str]:
        """Return the judge's reply to each question, in their order, and keep each as soon as it is there.

        A question that is longer than the judge can read has a reply that says so. Raises EndpointUnavailableError and
        EndpointRefusedError.
        """
        keys = [self.known.key("judge", VERSION, self.suite.max_tokens, question) for question in questions]
        asked = {key: partial(self._ask, question) for key, question in zip(keys, questions, strict=True)}
        progress(len(keys) - len(asked))
        ask_all(asked, self.known, self.suite.endpoint.max_concurrency, progress)
        return [str((self.known.get(key) or {})["reply"]) for key in keys]

    def read(self, replies: Sequence[str], verdict: Callable[[str], T | None]) -> list[T | None]:
        """Return what each reply means, None for the unreadable. Raises NotMeasuredError when these are too many."""
        found = [verdict(reply) for reply in replies]
        unread = [reply for reply, each in zip(replies, found, strict=True) if each is None]
        if len(unread) > UNREADABLE * len(found):
            raise NotMeasuredError(
                f"the judge {self.suite.endpoint.model} gives no verdict in {len(unread)} of {len(found)} replies; it "
                f"said, for one: {unread[0][:100]!r}. Give the suite more maxTokens, clearer criteria or "
                "another judge"
            )
        return found

    def _ask(self, question: str) -> Entry:
        asked = [{"role": "user", "content": question}]
        try:
            reply = self.endpoint.chat(asked, temperature=0.0, max_tokens=self.suite.max_tokens)
        except TooLongError:
            reply = TOO_LONG
        return {"reply": reply}


@contextmanager
def opened(suite: str, judging: Judging, known: Answers, field: str) -> Iterator[Judge]:
    """Give the judge of a suite. `known` is where its replies are kept, and `field` is the suite's that names it."""
    spec = judging.endpoint
    caller = caller_of(spec, f"the judge of suite {suite}", f"spec.suites[{suite}].{field}.endpoint")
    with connected(spec, caller, known.spending) as endpoint:
        yield Judge(judging, endpoint, known.of(f"judge {spec.url} {spec.model}"))
