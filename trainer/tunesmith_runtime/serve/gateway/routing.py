"""Which revision answers a request: exact shares, and waiting for one that is not ready yet."""

import asyncio
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from tunesmith_api.traffic import Routes, Upstream
from tunesmith_runtime.serve.gateway.logs import Say, say
from tunesmith_runtime.serve.gateway.refusals import Refusal

# What a client is told to wait when nothing has become ready in time.
RETRY_SECONDS = 5.0
_SHOWN_PROBLEMS = 3


@dataclass(frozen=True)
class Ready:
    """A revision and its address."""

    upstream: Upstream
    url: str

    @property
    def revision(self) -> int:
        """Its number."""
        return self.upstream.revision


class Balance:
    """Smooth weighted round robin: of any 100 requests in a row, each revision gets its share, spread evenly."""

    def __init__(self) -> None:
        self._weights: dict[int, int] = {}
        self._credit: dict[int, int] = {}

    def next(self, upstreams: Sequence[Upstream]) -> Upstream | None:
        """Return the one whose turn it is; None when none has a share."""
        weights = {each.revision: each.weight for each in upstreams if each.weight > 0}
        if weights != self._weights:
            self._weights, self._credit = weights, dict.fromkeys(weights, 0)
        if not weights:
            return None
        for revision, weight in weights.items():
            self._credit[revision] += weight
        chosen = max(weights, key=lambda revision: self._credit[revision])
        self._credit[chosen] -= sum(weights.values())
        return next(each for each in upstreams if each.revision == chosen)


def belonging(key: str, upstreams: Sequence[Upstream]) -> Upstream | None:
    """Return the revision that a user belongs to, by weighted rendezvous hashing.

    Each revision draws a number for the user, and its weight decides what that is worth. A user changes only when the
    winner's share has shrunk or another's has grown, so no more users move than shares do.
    """

    def worth(upstream: Upstream) -> float:
        digest = hashlib.blake2b(f"{upstream.revision}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return -upstream.weight / math.log((int.from_bytes(digest) + 0.5) / 2**64)

    return max((each for each in upstreams if each.weight > 0), key=worth, default=None)


class Router:
    """Goes by the newest routes that could be read, and never again without any.

    `changed` is called when routes are taken up, `waits` when a request begins to wait for a revision.
    """

    def __init__(self, changed: Callable[[Routes], None], waits: Callable[[], None], log: Say = say) -> None:
        self.routes: Routes | None = None
        # By revision; 0 stands for requests that no revision has a share of.
        self.waiting: Counter[int] = Counter()
        self._changed = changed
        self._waits = waits
        self._log = log
        self._balance = Balance()
        self._news = asyncio.Event()
        self._ending = False

    def take_up(self, document: bytes) -> None:
        """Go by a document from now on, or say why not."""
        try:
            routes = Routes.model_validate_json(document)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(step) for step in each['loc']) or 'the document'}: {each['msg']}"
                for each in error.errors(include_url=False, include_input=False, include_context=False)[
                    :_SHOWN_PROBLEMS
                ]
            )
            held = "there are none yet" if self.routes is None else f"going on by generation {self.routes.generation}"
            self._log(f"the new routes cannot be used, {held}: {problems}")
            return
        if routes == self.routes:
            return
        self.routes = routes
        self._changed(routes)
        self._tell()
        shares = {each.revision: each.weight for each in routes.upstreams}
        self._log("routes taken up", generation=routes.generation, shares=shares)

    def end(self) -> None:
        """Hold nothing any more: another gateway can."""
        self._ending = True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def required(self) -> Routes:
        """Return the routes. Raises Refusal while there are none."""
        if self.routes is None:
            raise Refusal(503, "no_routes", "the gateway has no routes yet; try again", retry_after=1)
        return self.routes

    async def ready(self, key: str | None) -> Ready:
        """Return the revision for a request of the user `key`, once it has an address. Raises Refusal."""
        chosen = self._choose(key)
        if chosen is not None and chosen.url is not None:
            return Ready(chosen, chosen.url)
        return await self._held(key, chosen)

    def other(self, than: Ready) -> Ready:
        """Return another revision that is ready, or the same one when it is the only one."""
        upstreams = self.required().upstreams
        others = [each for each in upstreams if each.revision != than.revision and each.url and each.weight > 0]
        best = max(others, key=lambda each: each.weight, default=None)
        if best is not None and best.url is not None:
            return Ready(best, best.url)
        same = next((each for each in upstreams if each.revision == than.revision and each.url), None)
        return Ready(same, same.url) if same is not None and same.url is not None else than

    def _choose(self, key: str | None) -> Upstream | None:
        upstreams = self.required().upstreams
        return self._balance.next(upstreams) if key is None else belonging(key, upstreams)

    async def _held(self, key: str | None, chosen: Upstream | None) -> Ready:
        hold = self.required().hold
        if self.waiting.total() >= hold.max_requests:
            raise Refusal(
                503,
                "not_ready",
                f"no revision is ready, and {hold.max_requests} requests wait already; try again",
                retry_after=RETRY_SECONDS,
            )
        try:
            async with asyncio.timeout(hold.timeout_seconds):
                while True:
                    if self._ending:
                        raise Refusal(503, "ending", "the gateway is about to end; try again", retry_after=1)
                    await self._news_for(chosen.revision if chosen else 0)
                    # A revision that still has a share keeps its requests; those of one that is gone go elsewhere.
                    revision = chosen.revision if chosen else 0
                    chosen = next(
                        (each for each in self.required().upstreams if each.revision == revision and each.weight > 0),
                        None,
                    ) or self._choose(key)
                    if chosen is not None and chosen.url is not None:
                        return Ready(chosen, chosen.url)
        except TimeoutError:
            raise Refusal(
                503,
                "not_ready",
                f"the model did not become ready within {hold.timeout_seconds} seconds; try again",
                retry_after=RETRY_SECONDS,
            ) from None

    async def _news_for(self, revision: int) -> None:
        """Wait for other routes, as one of those that wait for a revision."""
        self.waiting[revision] += 1
        try:
            if self.waiting[revision] == 1:
                self._waits()
            await self._news.wait()
        finally:
            self.waiting[revision] -= 1
