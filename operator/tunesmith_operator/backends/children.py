"""The objects of a cluster, by the workload that they belong to."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tunesmith_operator.backends.objects import INSTANCE_LABEL, Object


@dataclass
class Children:
    """The objects of one workload, as the cluster has them; `troubles` are Warning events about them."""

    name: str
    job: Object | None = None
    ray_job: Object | None = None
    deployment: Object | None = None
    stateful_set: Object | None = None
    progress: Object | None = None
    # What holds the pods back until all can start, and what Kueue says of the Job or RayJob.
    pod_group: Object | None = None
    admission: Object | None = None
    services: list[Object] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    troubles: list[Object] = field(default_factory=list)

    @property
    def attempt(self) -> Object | None:
        """What an attempt was started as."""
        return self.ray_job or self.job


def group(objects: Iterable[Object]) -> dict[str, Children]:
    """Return objects by the workload that they belong to."""
    found: dict[str, Children] = {}
    for each in objects:
        name = (each["metadata"].get("labels") or {}).get(INSTANCE_LABEL)
        if not name:
            continue
        children = found.setdefault(name, Children(name))
        match each["kind"]:
            case "Job":
                children.job = each
            case "RayJob":
                children.ray_job = each
            case kind if kind.endswith("PodGroup"):
                children.pod_group = each
            case "Deployment":
                children.deployment = each
            case "StatefulSet":
                children.stateful_set = each
            case "ConfigMap":
                children.progress = each
            case "Service":
                children.services.append(each)
            case "Pod":
                children.pods.append(each)
    return found
