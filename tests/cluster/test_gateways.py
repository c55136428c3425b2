"""Two gateways that share one address: they wake servers that sleep, ask for more of them, and share out limits."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
import yaml

from tests.cluster.cluster import Cluster, Namespace, eventually
from tests.cluster.conftest import fresh_namespace
from tests.cluster.serving import DEADLINE_SECONDS, load, pods_of, serving, start
from tunesmith_api.serving.access import SCOPES, Limits
from tunesmith_operator.keys import NewKey, new_key

SCALING = {"minReplicas": 0, "maxReplicas": 2, "targetInFlight": 1, "scaleDownDelaySeconds": 3}


@dataclass(frozen=True)
class Served:
    """A ModelServe that sleeps when nobody asks, and the keys of two that may."""

    namespace: Namespace
    url: str
    free: str
    limited: str

    def ask(self, key: str) -> requests.Response:
        """Ask once, over a connection of its own."""
        question: Any = {"model": "bot", "messages": [{"role": "user", "content": "Is it fine?"}]}
        headers = {"Authorization": f"Bearer {key}"}
        return requests.post(f"{self.url}/v1/chat/completions", json=question, headers=headers, timeout=90)

    def pods(self) -> list[str]:
        return [each["metadata"]["name"] for each in pods_of(self.namespace, "bot-v1")]

    def reason(self) -> str | None:
        told = self.namespace.condition("ModelServe", "bot", "Reconciling")
        return told["reason"] if told else None


@pytest.fixture(scope="module")
def served(operator: Cluster) -> Iterator[Served]:
    free, limited = made("free"), made("limited", Limits(requests_per_minute=7))
    entries = [each.entry.to_json() for each in (free, limited)]
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "keys"},
        "stringData": {"keys.yaml": yaml.safe_dump(entries)},
    }
    wanted = serving(
        {},
        wanted={"seconds": 0.5},
        traffic={"provider": "gateway", "replicas": 2},
        replicas=1,
        scaling=SCALING,
        auth={"apiKeysSecretRef": {"name": "keys"}},
    )
    with fresh_namespace(operator) as namespace:
        namespace.apply(secret)
        yield Served(namespace, start(namespace, wanted), free.secret, limited.secret)


def made(name: str, limits: Limits | None = None) -> NewKey:
    return new_key(name, SCOPES, None, limits, datetime.now(UTC))


def test_the_last_pod_goes_when_nobody_asks_and_the_next_request_is_held_and_answered(served: Served) -> None:
    eventually(lambda: not served.pods(), "end of the last pod", DEADLINE_SECONDS)
    status = served.namespace.status("ModelServe", "bot")
    assert (status["phase"], served.reason()) == ("Ready", "ScaledToZero")
    assert status["replicas"] == 0

    answer = served.ask(served.free)

    assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, "fine")
    assert served.pods()


def test_requests_over_the_target_make_more_pods(served: Served) -> None:
    with load(served.url, served.free, patience=90) as seen:
        eventually(
            lambda: served.namespace.status("ModelServe", "bot")["replicas"] == 2, "second pod", DEADLINE_SECONDS
        )
    eventually(lambda: not served.pods(), "end of both pods", DEADLINE_SECONDS)
    assert seen.failures == []


def test_two_gateways_admit_together_what_their_parts_of_a_limit_add_up_to(served: Served) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: served.ask(served.limited), range(60)))

    # Of 7, each of the two has three; what is left over nobody has.
    assert Counter(each.status_code for each in answers) == {200: 6, 429: 54}
    assert {each.headers["x-ratelimit-limit-requests"] for each in answers} == {"3"}
    refused = [each for each in answers if each.status_code == 429]
    assert {each.json()["error"]["code"] for each in refused} == {"requests_per_minute"}
    assert all(int(each.headers["retry-after"]) > 0 for each in refused)
    assert served.ask(served.free).status_code == 200, "limits are each key's own"
