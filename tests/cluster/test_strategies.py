"""Each strategy behind gateways: no request fails, and whatever is killed on the way, it ends one way or the other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, Namespace, eventually
from tests.cluster.conftest import fresh_namespace
from tests.cluster.serving import (
    DEADLINE_SECONDS,
    await_end,
    kill_one_of_each,
    load,
    pods_of,
    serving,
    start,
    state_of,
    told,
)

STRATEGIES: dict[str, dict[str, Any]] = {
    "rolling": {"strategy": "rolling"},
    "blueGreen": {"strategy": "blueGreen", "scaleDownDelaySeconds": 4},
    "recreate": {"strategy": "recreate"},
}
STAGES = ["Starting", "Shifting", "Observing", "Promoting"]


@dataclass(frozen=True)
class Served:
    """A ModelServe that serves, and how its next revisions take over."""

    namespace: Namespace
    strategy: str
    url: str

    def change(self, model: str) -> tuple[int, int]:
        """Have another model served; return the revision that serves, and the one that is to."""
        before = int(self.namespace.status("ModelServe", "bot")["revision"])
        self.namespace.apply(asked(self.strategy, model))
        eventually(lambda: state_of(self.namespace, before + 1), f"revision {before + 1}")
        return before, before + 1

    def reached(self, stage: str) -> bool:
        """Return whether the rollout is in a stage, or past it."""
        rollout = self.namespace.status("ModelServe", "bot").get("rollout")
        return rollout is None or STAGES.index(rollout["stage"]) >= STAGES.index(stage)

    def revisions_with_pods(self) -> frozenset[str]:
        pods = self.namespace.all("Pod", "app.kubernetes.io/name=tunesmith-serve")
        return frozenset(each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in pods)


def asked(strategy: str, model: str) -> Any:
    return serving(STRATEGIES[strategy], model=model, traffic={"provider": "gateway", "replicas": 2})


@pytest.fixture(scope="module", params=STRATEGIES)
def served(operator: Cluster, request: pytest.FixtureRequest) -> Iterator[Served]:
    with fresh_namespace(operator) as namespace:
        yield Served(namespace, request.param, start(namespace, asked(request.param, "one")))


def test_a_revision_takes_over_and_no_request_fails(served: Served) -> None:
    namespace, together = served.namespace, set()
    # While nothing answers, `recreate` holds what is asked.
    with load(served.url, patience=90) as seen:
        before, number = served.change("two")

        def promoted() -> bool:
            together.add(served.revisions_with_pods())
            return state_of(namespace, number) == "Promoted"

        eventually(promoted, f"promoted revision ({told(namespace)})", DEADLINE_SECONDS)
        eventually(lambda: namespace.get("Deployment", f"bot-v{before}") is None, "end of the old revision")
        seen.answers.clear()
        eventually(lambda: seen.answers.total() > 50, "requests afterwards")

    of_it = f"app.kubernetes.io/instance=bot-v{before}"
    eventually(lambda: not namespace.all("ConfigMap", of_it), "end of what the old revision has left")
    assert not namespace.all("Role", of_it)
    assert seen.failures == [], f"{len(seen.failures)}: {seen.failures[0]} ... {seen.failures[-1]}"
    assert set(seen.answers) == {str(number)}
    assert max(map(len, together)) == (1 if served.strategy == "recreate" else 2), together


def test_kills_all_the_way_end_promoted_or_taken_back(operator: Cluster, served: Served) -> None:
    with load(served.url, patience=10):
        before, number = served.change("killed")
        moments: dict[str, Callable[[], object]] = {
            "its beginning": lambda: served.reached("Starting"),
            "its first pods": lambda: pods_of(served.namespace, f"bot-v{number}"),
            "its first requests": lambda: served.reached("Shifting"),
            "its end": lambda: served.reached("Promoting"),
        }
        for moment, comes in moments.items():
            eventually(comes, f"{moment} ({told(served.namespace)})", DEADLINE_SECONDS)
            kill_one_of_each(operator, served.namespace)
        await_end(served.namespace, served.url, before, number)
