"""Whatever people write, the operator stays up and says what is wrong with it."""

from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.cluster.cluster import Cluster, Namespace, Object, eventually
from tests.cluster.conftest import SYSTEM
from tests.cluster.work import evaluation, job, server
from tests.crds.examples import EXAMPLES
from tunesmith_api.base import Kind
from tunesmith_api.crd import resource_schema

WANTED = 200
Schema = dict[str, Any]


def paths(schema: Schema, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Schema]]:
    """Return every field below a schema, with its path."""
    found = []
    for name, field in schema.get("properties", {}).items():
        found += [((*path, name), field), *paths(field, (*path, name))]
    return found


def wrong(field: Schema) -> st.SearchStrategy[Any]:
    """Return values that a field does not take: of another type, out of its bounds, or of no sense."""
    nonsense: list[st.SearchStrategy[Any]] = [
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=30),
        st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    ]  # fmt: skip
    if "maximum" in field:
        nonsense.append(st.just(field["maximum"] + 1))
    if "pattern" in field:
        nonsense.append(st.sampled_from(["", " ", "../..", "pvc://", "pvc://a/../b", "http://x", "Ü", "-", "a" * 2000]))
    return st.one_of(nonsense)


@st.composite
def bad(draw: st.DrawFn) -> Object:
    """A resource with one to three fields that are wrong, missing or unknown."""
    kind: Kind = draw(st.sampled_from(("FineTuneJob", "EvalJob", "ModelServe")))
    made = {"FineTuneJob": job(), "EvalJob": evaluation(), "ModelServe": server()}[kind]
    fields = paths(resource_schema(kind)["properties"]["spec"])
    for _ in range(draw(st.integers(1, 3))):
        path, field = draw(st.sampled_from(fields))
        parent = made["spec"]
        for name in path[:-1]:
            inner = parent.get(name)
            parent[name] = inner if isinstance(inner, dict) else {}
            parent = parent[name]
        match draw(st.sampled_from(("wrong", "wrong", "wrong", "missing", "unknown"))):
            case "missing":
                parent.pop(path[-1], None)
            case "unknown":
                parent[f"{path[-1]}X"] = 1
            case _:
                parent[path[-1]] = draw(wrong(field))
    return made


def collected() -> list[Object]:
    """Return bad resources, the same ones each time."""
    found: list[Object] = []

    @seed(1)
    @settings(max_examples=4 * WANTED, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(bad())
    def collect(resource: Object) -> None:
        found.append(resource)

    collect()
    return found


def test_two_hundred_bad_resources(operator: Cluster, namespace: Namespace) -> None:
    before = restarts(operator)
    refused, stored = [], []
    for number, resource in enumerate(collected()):
        resource["metadata"] = {"name": f"bad-{number}", "namespace": namespace.name}
        answer = operator.create(resource)
        if answer.status_code == 201:
            stored.append((resource["kind"], f"bad-{number}"))
        else:
            refused.append(answer)
        if len(refused) + len(stored) == WANTED:
            break

    assert len(refused) + len(stored) == WANTED
    for answer in refused:
        # The server's own sentence names the field.
        assert answer.status_code in {400, 422}, answer.text
        assert "spec" in answer.json()["message"], answer.text
    assert stored, "the schema let nothing through that only the operator can refuse"
    for kind, name in stored:
        assert word_on(namespace, kind, name), (kind, name)
    assert restarts(operator) == before
    namespace.apply(job())
    namespace.await_condition("FineTuneJob", "bot", "Succeeded")


def test_what_only_a_current_server_refuses_is_said_by_the_operator(operator: Cluster, namespace: Namespace) -> None:
    """Every rule in CEL: an API server that knows none stores the resource, and the operator says the same words."""
    refused = [(each.message, resource) for each in EXAMPLES for resource in each.resources_refused()]
    assert refused
    for number, (message, resource) in enumerate(refused):
        name = f"rule-{number}"
        answer = operator.create({**resource, "metadata": {"name": name, "namespace": namespace.name}})
        if answer.status_code == 422:
            sentence = answer.json()["message"]
        else:
            assert answer.status_code == 201, answer.text
            sentence = namespace.await_condition(resource["kind"], name, "Stalled", "SpecInvalid")["message"]
        assert message in sentence, (resource["spec"], sentence)


def word_on(namespace: Namespace, kind: str, name: str) -> str:
    """Return what the operator says of a resource, good or bad."""
    said = eventually(lambda: namespace.condition(kind, name, "Reconciling"), f"word on {kind} {name}")
    return str(said["message"])


def restarts(cluster: Cluster) -> int:
    """Return how often the operator's containers have been started again."""
    pods = cluster.all("Pod", SYSTEM, "app.kubernetes.io/name=tunesmith")
    return sum(status["restartCount"] for pod in pods for status in pod["status"].get("containerStatuses") or ())
