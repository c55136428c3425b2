"""Pods that start together, and runs that wait for their turn."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.builders import fine_tune_job
from tunesmith_operator.backends import kuberay, native
from tunesmith_operator.backends.gangs import times
from tunesmith_operator.backends.native import RenderError, Settings
from tunesmith_operator.planner import Observed, Workload, plan

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SETTINGS = Settings(image="registry.test/runtime:1")
BACKENDS = [native.render, kuberay.render]
Object = dict[str, Any]


def workload(queue: Object, **spec: Any) -> Workload:
    (found,) = plan(fine_tune_job(queue=queue, **{"workers": 3, **spec}), Observed(), NOW).ensure
    return found


def rendered(render: Any, queue: Object, **spec: Any) -> dict[str, Object]:
    return {each["kind"]: each for each in render(workload(queue, **spec), SETTINGS)}


def templates(objects: dict[str, Object]) -> list[Object]:
    if "RayJob" in objects:
        cluster = objects["RayJob"]["spec"]["rayClusterSpec"]
        return [cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"][0]["template"]]
    return [objects[kind]["spec"]["template"] for kind in ("Job", "StatefulSet")]


@pytest.mark.parametrize("render", BACKENDS)
def test_volcano_schedules_all_pods_or_none(render: Any) -> None:
    resources = {"gpu": 2, "cpu": "500m", "memory": "1.5Gi"}
    objects = rendered(render, {"gang": "volcano", "name": "research"}, resources=resources)

    group = objects["PodGroup"]
    assert group["apiVersion"] == "scheduling.volcano.sh/v1beta1"
    assert group["spec"] == {
        "minMember": 3,
        "minResources": {"cpu": "1500m", "memory": "4.5Gi", "nvidia.com/gpu": "6"},
        "queue": "research",
    }
    for each in templates(objects):
        assert each["spec"]["schedulerName"] == "volcano"
        assert each["metadata"]["annotations"]["scheduling.k8s.io/group-name"] == group["metadata"]["name"]
    # The PodGroup is there before the pods.
    assert list(objects).index("PodGroup") < min(list(objects).index(kind) for kind in objects if "Job" in kind)


@pytest.mark.parametrize("render", BACKENDS)
def test_an_elastic_run_starts_with_its_fewest_workers(render: Any) -> None:
    objects = rendered(render, {"gang": "volcano"}, workers=4, minWorkers=2)

    assert objects["PodGroup"]["spec"]["minMember"] == 2


@pytest.mark.parametrize("render", BACKENDS)
def test_coscheduling_schedules_all_pods_or_none(render: Any) -> None:
    objects = rendered(render, {"gang": "coscheduling"})

    assert objects["PodGroup"]["apiVersion"] == "scheduling.x-k8s.io/v1alpha1"
    assert objects["PodGroup"]["spec"] == {"minMember": 3}
    for each in templates(objects):
        assert each["spec"]["schedulerName"] == "scheduler-plugins-scheduler"
        assert each["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] == "support-bot-a1"


def test_kueue_holds_one_pod_by_its_job_and_several_by_their_ray_job() -> None:
    queue = {"name": "research"}
    held = [rendered(native.render, queue, workers=1)["Job"], rendered(kuberay.render, queue)["RayJob"]]
    for each in held:
        assert each["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
        assert each["spec"]["suspend"] is True


def test_kueue_cannot_hold_several_native_pods() -> None:
    with pytest.raises(RenderError, match="kueue holds several workers together as one RayJob of KubeRay"):
        rendered(native.render, {"name": "research"})


def test_a_gang_that_is_not_turned_on_is_refused() -> None:
    with pytest.raises(RenderError, match=r"queue.gang volcano is not turned on here.*gangs.volcano.enabled"):
        native.render(workload({"gang": "volcano"}), replace(SETTINGS, gangs=frozenset()))


@pytest.mark.parametrize("render", BACKENDS)
def test_without_a_queue_each_pod_is_scheduled_by_itself(render: Any) -> None:
    objects = rendered(render, {"gang": "none"})
    assert "PodGroup" not in objects
    assert all("schedulerName" not in each["spec"] for each in templates(objects))


@pytest.mark.parametrize(
    ("amount", "count", "product"),
    [(4, 3, "12"), ("500m", 3, "1500m"), ("16Gi", 2, "32Gi"), ("1.5Gi", 3, "4.5Gi"), ("0.1", 3, "0.3")],
)
def test_quantities_multiply(amount: int | str, count: int, product: str) -> None:
    assert times(amount, count) == product
