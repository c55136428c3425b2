"""What an evaluation has asked of endpoints, counted before it is sent and kept beyond the attempt."""

import threading
from collections.abc import Iterable

from tunesmith_api import conditions
from tunesmith_api.spending import Limits, Spent
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.storage.journal import Journal


class LimitReachedError(RunError):
    """A limit of the spec leaves no room for what is to be asked next."""

    reason = conditions.CONFIG_INVALID
    retryable = False


class Spending:
    """Counts requests and tokens, of any number of threads, and lets none through beyond the limits.

    A request is in the journal before it is sent, so that what a kill cuts off has been counted.
    """

    def __init__(self, limits: Limits | None = None, journal: Journal | None = None, run: str = "") -> None:
        """Take the limits, and where the sum is kept of this `run` alone. Without a journal it is forgotten."""
        self._limits = limits
        self._journal = journal
        self._run = run
        self._lock = threading.Lock()
        self._spent = Spent.model_validate(journal.get(run) or {}) if journal else Spent()

    @property
    def spent(self) -> Spent:
        """The sum so far."""
        with self._lock:
            return self._spent

    @property
    def counts_tokens(self) -> bool:
        """Whether an endpoint has to tell how many tokens an answer took."""
        return self._limits is not None and self._limits.max_tokens is not None

    def take(self, requests: int = 1) -> None:
        """Count requests that are about to be sent. Raises LimitReachedError, and counts none, if they are too many."""
        with self._lock:
            spent, limits = self._spent, self._limits
            if limits and limits.max_requests is not None and spent.requests + requests > limits.max_requests:
                raise LimitReachedError(
                    f"{_counted(spent.requests, 'request')} of spec.limits.maxRequests ({limits.max_requests}) have "
                    f"been sent, and {'one more is' if requests == 1 else f'{requests} more are'} needed; raise it"
                )
            if limits and limits.max_tokens is not None and spent.tokens >= limits.max_tokens:
                raise LimitReachedError(
                    f"{_counted(spent.tokens, 'token')} have been used, all of spec.limits.maxTokens "
                    f"({limits.max_tokens}), and more is to be asked; raise it"
                )
            self._keep(Spent(requests=spent.requests + requests, tokens=spent.tokens))

    def use(self, tokens: int | None) -> None:
        """Count the tokens of an answer, None where the endpoint does not tell. Raises LimitReachedError for that."""
        if tokens is None and self.counts_tokens:
            raise LimitReachedError(
                "spec.limits.maxTokens cannot be kept: the endpoint does not tell how many tokens an answer took "
                "(usage); set maxRequests in its place"
            )
        if tokens:
            with self._lock:
                self._keep(Spent(requests=self._spent.requests, tokens=self._spent.tokens + tokens))

    def _keep(self, spent: Spent) -> None:
        if self._journal:
            self._journal.add({self._run: spent.to_json()})
        self._spent = spent


def sum_of(several: Iterable[Spent]) -> Spent:
    """Return what was spent by all together."""
    listed = list(several)
    return Spent(requests=sum(each.requests for each in listed), tokens=sum(each.tokens for each in listed))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
