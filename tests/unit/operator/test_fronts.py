"""What stands in front of a ModelServe's pods."""

from datetime import UTC, datetime
from typing import Any

from tests.builders import model_serve
from tests.unit.planner.serving_world import ServingWorld
from tunesmith_operator.backends.fronts import objects

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ROUTE = {"parentRefs": [{"name": "public", "namespace": "gateways"}], "hostnames": ["bot.example.com"]}


def fronted(world: ServingWorld) -> dict[str, dict[str, Any]]:
    front = world.decide().front
    assert front is not None
    return {f"{each['kind']} {each['metadata']['name']}": each for each in objects(front)}


def canary(**traffic: Any) -> ServingWorld:
    """Return a world in which revision 2 has 30% beside revision 1."""
    rollout = {"strategy": "canary", "steps": [{"weight": 30, "pauseSeconds": 60}]}
    world = ServingWorld(model_serve(model={"uri": "pvc://models/one"}, replicas=2, rollout=rollout, traffic=traffic))
    world.settle()
    world.change(model={"uri": "pvc://models/two"})
    world.settle()
    return world


def test_a_service_is_in_front_of_all_pods_where_they_share() -> None:
    found = fronted(canary())

    assert list(found) == ["PodDisruptionBudget support-bot", "Service support-bot"]
    assert found["Service support-bot"]["spec"]["selector"] == {
        "app.kubernetes.io/name": "tunesmith-serve",
        "tunesmith.dev/role": "server",
        "tunesmith.dev/owner-uid": "uid-support-bot",
    }
    assert found["PodDisruptionBudget support-bot"]["spec"]["maxUnavailable"] == 1


def test_a_service_is_in_front_of_the_gateways() -> None:
    found = fronted(canary(provider="gateway"))

    assert "PodDisruptionBudget support-bot-gateway" in found
    selector = found["Service support-bot"]["spec"]["selector"]
    assert selector["app.kubernetes.io/instance"] == "support-bot-gateway"


def test_a_route_shares_requests_out_by_weight() -> None:
    world = canary(provider="gatewayAPI", route=ROUTE)
    route = fronted(world)["HTTPRoute support-bot"]

    assert route["spec"] == {
        **ROUTE,
        "rules": [
            {
                "backendRefs": [
                    {"name": "support-bot-v1", "port": 8000, "weight": 70},
                    {"name": "support-bot-v2", "port": 8000, "weight": 30},
                ]
            }
        ],
    }
    assert world.status.canary is not None
    assert (world.status.canary.actual_weight, world.status.http_route) == (30, "support-bot")


def test_a_route_that_nobody_wants_any_more_goes() -> None:
    world = canary(provider="gatewayAPI", route=ROUTE)
    world.change(traffic={"provider": "replicas"})
    front = world.reconcile().front
    assert front is not None
    assert front.unroute
    assert world.status.http_route is None
