"""Gangs and queues: what makes the pods of a run start together, or wait for their turn."""

import re
from typing import get_args

from tunesmith_api.contract import TrainRun
from tunesmith_api.queueing import Gang, Queue
from tunesmith_operator.backends.objects import GANG, Object, make
from tunesmith_operator.backends.shared import RenderError
from tunesmith_operator.planner import Workload

ALL: frozenset[Gang] = frozenset(get_args(Gang))
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
VOLCANO_API = "scheduling.volcano.sh/v1beta1"
VOLCANO_SCHEDULER = "volcano"
VOLCANO_ANNOTATION = "scheduling.k8s.io/group-name"
COSCHEDULING_API = "scheduling.x-k8s.io/v1alpha1"
COSCHEDULING_LABEL = "scheduling.x-k8s.io/pod-group"


def of(workload: Workload) -> Gang:
    """Return who starts the pods of a workload together."""
    return workload.queue.gang if workload.queue else "none"


def pod_group(workload: Workload, enabled: frozenset[Gang]) -> Object | None:
    """Return the PodGroup of all of a run's pods, or None when no scheduler of gangs starts them.

    Raises RenderError for a gang that the operator does not know on this cluster.
    """
    queue = workload.queue
    if queue is None or queue.gang == "none":
        return None
    if queue.gang not in enabled:
        raise RenderError(
            f"queue.gang {queue.gang} is not turned on here: the operator's --gang {queue.gang} does it "
            f"(gangs.{queue.gang}.enabled of the chart)"
        )
    if queue.gang == "kueue":
        return None
    api = VOLCANO_API if queue.gang == "volcano" else COSCHEDULING_API
    return make(workload, api, "PodGroup", workload.name, GANG, spec=_group(workload, queue))


def _group(workload: Workload, queue: Queue) -> Object:
    pods = (workload.config.min_workers or workload.config.workers) if isinstance(workload.config, TrainRun) else 1
    amounts = {
        "cpu": workload.resources.cpu,
        "memory": workload.resources.memory,
        "nvidia.com/gpu": workload.resources.gpu or None,
    }
    needed = {name: times(amount, pods) for name, amount in amounts.items() if amount is not None}
    spec: Object = {"minMember": pods, **({"minResources": needed} if needed else {})}
    if queue.gang == "volcano":
        spec |= {"queue": queue.name} if queue.name else {}
        if priority := workload.pod_template.priority_class_name:
            spec["priorityClassName"] = priority
    return spec


def join(workload: Workload, template: Object, coscheduler: str) -> None:
    """Make the pods of a template members of their run's PodGroup, if it has one."""
    gang = of(workload)
    if gang == "volcano":
        template["spec"]["schedulerName"] = VOLCANO_SCHEDULER
        template["metadata"].setdefault("annotations", {})[VOLCANO_ANNOTATION] = workload.name
    if gang == "coscheduling":
        template["spec"]["schedulerName"] = coscheduler
        template["metadata"]["labels"][COSCHEDULING_LABEL] = workload.name


def hold(workload: Workload, starter: Object) -> None:
    """Let Kueue decide when a Job or RayJob may start: it is created suspended, and Kueue alone lets it go."""
    queue = workload.queue
    if queue is not None and queue.gang == "kueue":
        starter["metadata"]["labels"][QUEUE_LABEL] = queue.name
        starter["spec"]["suspend"] = True


def is_held(starter: Object) -> bool:
    """Return whether what starts a run is created for a queue to let it go."""
    return QUEUE_LABEL in (starter["metadata"].get("labels") or {})


def times(amount: int | str, count: int) -> str:
    """Return a Kubernetes quantity, such as 500m or 1.5Gi, so many times."""
    found = re.match(r"[0-9.]+", str(amount))
    number = found.group() if found else "0"
    unit = str(amount)[len(number) :]
    return f"{float(number) * count:.15g}{unit}"
