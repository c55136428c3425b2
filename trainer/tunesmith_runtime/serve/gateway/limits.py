"""How much each caller may ask: windows that slide, so that no 60 seconds ever see more than the limit."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith_api.serving.access import Limits
from tunesmith_runtime.serve.gateway.refusals import Refusal

WINDOW_SECONDS = 60.0
# What an answer is taken to need, in tokens, when the request does not say how long it may become.
ANSWER_TOKENS = 512


@dataclass
class _Spent:
    at: float
    amount: int


class Window:
    """Sums what was spent in the last 60 seconds."""

    def __init__(self) -> None:
        self._spent: deque[_Spent] = deque()
        self.sum = 0

    def spend(self, now: float, amount: int) -> _Spent:
        """Note an amount."""
        spent = _Spent(now, amount)
        self._spent.append(spent)
        self.sum += amount
        return spent

    def correct(self, spent: _Spent, amount: int, now: float) -> None:
        """Replace what was thought to be spent by what was."""
        self.slide(now)
        if self._spent and self._spent[0].at <= spent.at:
            self.sum += amount - spent.amount
            spent.amount = amount

    def slide(self, now: float) -> None:
        """Forget what is too long ago."""
        while self._spent and self._spent[0].at <= now - WINDOW_SECONDS:
            self.sum -= self._spent.popleft().amount

    def seconds_until_empty(self, now: float) -> float:
        """Return how long it takes until all that was spent is too long ago."""
        return self._spent[-1].at + WINDOW_SECONDS - now if self._spent else 0.0

    def seconds_until(self, room: int, limit: int, now: float) -> float:
        """Return how long it takes until there is so much room below the limit, if nothing more is spent."""
        over = self.sum + room - limit
        for spent in self._spent:
            if over <= 0:
                break
            over -= spent.amount
            if over <= 0:
                return spent.at + WINDOW_SECONDS - now
        return 0.0


class Meter:
    """One caller's requests and tokens."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._requests = Window()
        self._tokens = Window()
        self.concurrent = 0
        self.total_requests = 0
        self.total_tokens = 0

    def admit(self, limits: Limits, tokens: int, exact: bool) -> "Admission":
        """Let a request in that may take so many tokens; `exact`: its own word for it. Raises Refusal."""
        now = self._clock()
        self._requests.slide(now)
        self._tokens.slide(now)
        most = limits.tokens_per_minute
        if most is not None and not exact:
            tokens = min(tokens, most)
        self._check(limits, tokens, now)
        self.concurrent += 1
        self.total_requests += 1
        self._requests.spend(now, 1)
        return Admission(self, limits, self._tokens.spend(now, tokens))

    def _check(self, limits: Limits, tokens: int, now: float) -> None:
        if limits.max_concurrent_requests is not None and self.concurrent >= limits.max_concurrent_requests:
            raise Refusal(
                429,
                "concurrent_requests",
                f"{limits.max_concurrent_requests} requests are being answered, which is the limit; wait for one",
                retry_after=1,
                headers=self.headers(limits),
            )
        if (most := limits.requests_per_minute) is not None and self._requests.sum >= most:
            raise Refusal(
                429,
                "requests_per_minute",
                f"the limit is {most} requests a minute",
                retry_after=self._requests.seconds_until(1, most, now),
                headers=self.headers(limits),
            )
        if (most := limits.tokens_per_minute) is not None and self._tokens.sum + tokens > most:
            if tokens > most:
                raise Refusal(
                    400,
                    "too_many_tokens",
                    f"the request may take {tokens} tokens, and the limit is {most} a minute; lower max_tokens",
                )
            raise Refusal(
                429,
                "tokens_per_minute",
                f"the limit is {most} tokens a minute, and the request may take {tokens}",
                retry_after=self._tokens.seconds_until(tokens, most, now),
                headers=self.headers(limits),
            )

    def headers(self, limits: Limits) -> dict[str, str]:
        """Return what clients are told of their limits, by the names that OpenAI gives them."""
        now = self._clock()
        told: dict[str, str] = {}
        for name, most, window in (
            ("requests", limits.requests_per_minute, self._requests),
            ("tokens", limits.tokens_per_minute, self._tokens),
        ):
            if most is not None:
                window.slide(now)
                told[f"x-ratelimit-limit-{name}"] = str(most)
                told[f"x-ratelimit-remaining-{name}"] = str(max(0, most - window.sum))
                told[f"x-ratelimit-reset-{name}"] = f"{window.seconds_until_empty(now):.3f}s"
        return told

    def usage(self) -> dict[str, Any]:
        """Return what was spent in the last minute, and since the gateway has started."""
        now = self._clock()
        self._requests.slide(now)
        self._tokens.slide(now)
        return {
            "last_minute": {"requests": self._requests.sum, "tokens": self._tokens.sum},
            "total": {"requests": self.total_requests, "tokens": self.total_tokens},
            "concurrent_requests": self.concurrent,
        }

    def settle(self, spent: _Spent, tokens: int) -> None:
        """Note that a request has ended and has taken so many tokens."""
        self.concurrent -= 1
        self.total_tokens += tokens
        self._tokens.correct(spent, tokens, self._clock())


class Admission:
    """A request that has been let in. A context: leaving it gives back what was not used."""

    def __init__(self, meter: Meter, limits: Limits, spent: _Spent) -> None:
        self._meter = meter
        self._limits = limits
        self._spent = spent
        self.tokens = 0

    def __enter__(self) -> "Admission":
        return self

    def __exit__(self, *_: object) -> None:
        self._meter.settle(self._spent, self.tokens)

    def headers(self) -> Mapping[str, str]:
        """Return what the client is told of its limits."""
        return self._meter.headers(self._limits)


class Limiter:
    """All callers' meters."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._meters: dict[str | None, Meter] = {}

    def meter(self, caller: str | None) -> Meter:
        """Return a caller's meter."""
        return self._meters.setdefault(caller, Meter(self._clock))


def share(limits: Limits | None, gateways: int) -> Limits:
    """Return one gateway's part of the limits: all together never let in more, but at least one request each."""
    if limits is None:
        return Limits()
    if gateways == 1:
        return limits
    parts = {name: max(1, value // gateways) for name, value in limits if value is not None}
    return Limits(**parts)
