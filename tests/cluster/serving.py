"""A ModelServe behind a gateway as its clients see it: asked without a pause, and killed bit by bit."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import openai
import requests

from tests.cluster.cluster import Cluster, Namespace, Object, eventually
from tests.cluster.conftest import kill_operator
from tests.cluster.work import server, standin

# More than any rollout here takes.
DEADLINE_SECONDS = 180


@dataclass
class Load:
    """What clients have seen: how many answers came from each revision, and every failure."""

    answers: "Counter[str]" = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def share(self, revision: int) -> float:
        """Return the percent of the answers that came from a revision."""
        return 100 * self.answers[str(revision)] / max(1, sum(self.answers.values()))


@contextmanager
def load(url: str, key: str = "none", patience: float = 30) -> Iterator[Load]:
    """Let two clients ask without a pause, one for whole answers and one for streams; for one they wait so long."""
    seen, over = Load(), threading.Event()
    # Nothing is asked twice: each failure counts.
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=patience)
    question: Any = {"model": "bot", "messages": [{"role": "user", "content": "Is it fine?"}]}

    def whole() -> None:
        answer = client.chat.completions.with_raw_response.create(**question)
        assert answer.parse().choices[0].message.content == "fine"
        seen.answers[answer.headers["x-tunesmith-revision"]] += 1

    def streamed() -> None:
        with client.chat.completions.with_streaming_response.create(**question, stream=True) as answer:
            assert "data: [DONE]" in "".join(answer.iter_lines())
            seen.answers[answer.headers["x-tunesmith-revision"]] += 1

    def ask(once: Callable[[], None]) -> None:
        while not over.is_set():
            try:
                once()
            except Exception as error:
                seen.failures.append(f"{time.strftime('%H:%M:%S')} {error!r}"[:300])
            time.sleep(0.01)

    threads = [threading.Thread(target=ask, args=(once,)) for once in (whole, streamed)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def serving(rollout: dict[str, Any], model: str = "one", wanted: dict[str, Any] | None = None, **spec: Any) -> Any:
    """Return a ModelServe of the stand-in behind a gateway."""
    plain = {
        "model": {"uri": f"s3://models/{model}"},
        "replicas": 2,
        "traffic": {"provider": "gateway"},
        "rollout": rollout,
        "podTemplate": standin(**(wanted or {})),
        **spec,
    }
    return server(gate=None, **plain)


def start(namespace: Namespace, wanted: Object) -> str:
    """Let the first revision serve; return its address."""
    namespace.apply(wanted)
    eventually(lambda: namespace.status("ModelServe", "bot").get("phase") == "Ready", "ready server", 90)
    url = address(namespace)
    # The cluster's proxies hear of the first pod a moment later.
    eventually(lambda: requests.get(url, timeout=10).status_code, "way to the server")
    return url


def address(namespace: Namespace) -> str:
    """Return the URL of the ModelServe's Service, as this machine reaches it."""
    service = namespace.get("Service", "bot")
    assert service is not None
    return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"


def told(namespace: Namespace) -> str:
    """Return what the ModelServe says of where it stands."""
    found = namespace.condition("ModelServe", "bot", "Reconciling")
    return str(found["message"]) if found else ""


def state_of(namespace: Namespace, number: int) -> str | None:
    """Return the state of a revision, None before there is one."""
    revisions = namespace.status("ModelServe", "bot").get("revisions") or ()
    return next((str(each["state"]) for each in revisions if each["number"] == number), None)


def pods_of(namespace: Namespace, workload: str) -> list[Object]:
    """Return the pods of a revision, those that are ending among them."""
    return namespace.all("Pod", f"app.kubernetes.io/instance={workload}")


def kill_one_of_each(cluster: Cluster, namespace: Namespace) -> None:
    """End the operator, a gateway and a server, without a moment for cleaning up."""
    kill_operator(cluster)
    for role in ("tunesmith-gateway", "tunesmith-serve"):
        pods = namespace.all("Pod", f"app.kubernetes.io/name={role}")
        if alive := [each for each in pods if not each["metadata"].get("deletionTimestamp")]:
            namespace.kubectl("delete", "pod", alive[0]["metadata"]["name"], "--force", "--grace-period=0")


def await_end(namespace: Namespace, url: str, before: int, number: int) -> None:
    """Wait until a rollout has ended, one way or the other, what it left has gone, and what serves answers."""
    over = {"Promoted", "Degraded"}
    eventually(lambda: state_of(namespace, number) in over, f"end of the rollout ({told(namespace)})", DEADLINE_SECONDS)
    eventually(lambda: namespace.status("ModelServe", "bot").get("phase") == "Ready", "ready server", 90)
    left = f"bot-v{before if state_of(namespace, number) == 'Promoted' else number}"
    eventually(lambda: namespace.get("Deployment", left) is None, f"end of {left}")
    # The last that was killed may not be back, and nobody may have said so yet.
    eventually(lambda: answers(url), "answer")


def answers(url: str) -> bool:
    """Return whether it answers as it should."""
    asked: Any = {"model": "bot", "messages": [{"role": "user", "content": "Is it fine?"}]}
    answer = requests.post(f"{url}/v1/chat/completions", json=asked, timeout=30)
    return answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"] == "fine"
